"""The server's side of TLS: which certificate it shows, and whose client certificates it accepts.

It is loaded in the parent, which the workers inherit it from, so that all of them change certificates at once, and a
certificate that cannot be used leaves the last good one in its place.
"""

import logging
import ssl
from pathlib import Path

from serving.errors import SettingsError
from serving.settings import Settings, environ_name

log = logging.getLogger(__name__)


class Keeper:
    """Keeps the last good context, which outlives the configuration file that asked for it."""

    def __init__(self) -> None:
        self._last: ssl.SSLContext | None = None

    def load(self, settings: Settings) -> ssl.SSLContext | None:
        """What the settings say, with the files as they are now; None without TLS.

        The first time SettingsError where they cannot be used; later that is logged, and what was loaded before stays.
        """
        try:
            self._last = make_context(settings)
        except SettingsError as error:
            if self._last is None:
                raise
            log.error("%s; the certificate that was loaded before stays", error.message)
        return self._last


keeper = Keeper()
"""That of this process."""


def make_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or later with these certificates; None without any. SettingsError where they cannot be used."""
    certificate, key, authority = settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
    if certificate is None:
        lonely = next((field for field in ("tls_key_file", "tls_client_ca_file") if getattr(settings, field)), None)
        if lonely is not None:
            raise SettingsError(f"{environ_name(lonely)} needs {environ_name('tls_cert_file')} too")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _check_readable(certificate, key, authority)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"{certificate}: no certificate with its private key: {_reason(error)}") from None
    if authority is not None:
        _accept_clients(context, authority, settings.tls_client_cert)
    return context


def _accept_clients(context: ssl.SSLContext, authority: Path, wish: str) -> None:
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise SettingsError(f"{authority}: no certificate of an authority: {_reason(error)}") from None
    context.verify_mode = ssl.CERT_REQUIRED if wish == "required" else ssl.CERT_OPTIONAL


def _check_readable(*files: Path | None) -> None:
    for file in files:
        try:
            if file is not None:
                file.open("rb").close()
        except OSError as error:
            raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None


def _refuse_password() -> str:
    raise ValueError("the key is encrypted; the server has nobody to ask for the password")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else str(error)
