"""The errors of the server, one tree. Each names the HTTP status it hints at; nothing here knows HTTP otherwise.

ServingError                500  anything that is the server's own fault
|- InvalidArgument          400  the request is wrong in itself
|- FailedPrecondition       400  right in itself, wrong for this model
|- Unauthenticated          401  nobody knows who asks
|- PermissionDenied         403  the caller may not do this, or nobody may
|- NotFound                 404  no such model, version or path
|- MethodNotAllowed         405  the path exists for other methods; `.allowed` names them
|- NotAcceptable            406  no form of answer that the caller takes holds this one
|- PayloadTooLarge          413  more bytes than a limit allows
|- UnsupportedMediaType     415  a body of a type, in a form or an encoding, that is not read here
|- Misdirected              421  the request is for a server of another name
|- ResourceExhausted        429  more than the caller's limit; `.retry_seconds` says when to come again
|- Cancelled                499  the caller gave up
|- Unimplemented            501  TensorFlow has no kernel for it
|- Unavailable              503  try again later
|- DeadlineExceeded         504  the time allowed for the request is over
|- DataLoss                 500  a file of a model is not what it should be
`- SettingsError            (500) the server cannot start or reload with what it was given; never sent to a client

LoadError stands beside it: what becomes of a version, not of a request.
"""

from typing import ClassVar


class ServingError(Exception):
    """An error whose message may be shown to the caller.

    `code` is the name of the TensorFlow status code; `status` the HTTP status it maps to in TensorFlow Serving.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(ServingError):
    status = 400
    code = "INVALID_ARGUMENT"


class FailedPrecondition(ServingError):
    status = 400
    code = "FAILED_PRECONDITION"


class Unauthenticated(ServingError):
    status = 401
    code = "UNAUTHENTICATED"


class PermissionDenied(ServingError):
    status = 403
    code = "PERMISSION_DENIED"


class NotFound(ServingError):
    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(ServingError):
    status = 405
    code = "INVALID_ARGUMENT"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotAcceptable(ServingError):
    status = 406
    code = "INVALID_ARGUMENT"


class PayloadTooLarge(ServingError):
    status = 413
    code = "INVALID_ARGUMENT"


class UnsupportedMediaType(ServingError):
    status = 415
    code = "INVALID_ARGUMENT"


class Misdirected(ServingError):
    status = 421
    code = "FAILED_PRECONDITION"


class ResourceExhausted(ServingError):
    status = 429
    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Cancelled(ServingError):
    status = 499
    code = "CANCELLED"


class Unimplemented(ServingError):
    status = 501
    code = "UNIMPLEMENTED"


class Unavailable(ServingError):
    status = 503
    code = "UNAVAILABLE"


class DeadlineExceeded(ServingError):
    status = 504
    code = "DEADLINE_EXCEEDED"


class DataLoss(ServingError):
    code = "DATA_LOSS"


class SettingsError(ServingError):
    """What the operator gave cannot be used; the message is one line that says what to do."""

    code = "INVALID_ARGUMENT"


class LoadError(Exception):
    """A version that could not be loaded: the name of a TensorFlow status code, and the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
