"""Files of protobuf text: read whole, with errors of one line that say where."""

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.errors import SettingsError

_Message = TypeVar("_Message", bound=Message)


def read_text(path: Path) -> str:
    """The text of a file; SettingsError begins with its path."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 at byte {error.start}") from error


def parse_message(text: str, message: _Message) -> _Message:
    """Fill a message from its text; SettingsError says the line and column of what is wrong."""
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise SettingsError(_describe(error)) from error
    return message


def _describe(error: text_format.ParseError) -> str:
    reason = " ".join(str(error).split())
    line, column = error.GetLine(), error.GetColumn()
    if line is None:
        return reason
    return f"line {line}, column {column}: {reason.removeprefix(f'{line}:{column} : ')}"
