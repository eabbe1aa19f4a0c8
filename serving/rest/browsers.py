"""What keeps a web page from using the server by way of somebody's browser.

A page may have its own name point at this machine (DNS rebinding); then the browser asks for that name, so the server
answers to its own names only. And a page may send a plain form anywhere, without being asked whether it may; so a
request that comes from a page must say that it brings something that no plain form can.
"""

from serving.errors import Misdirected, UnsupportedMediaType
from serving.rest.application import Environ
from serving.settings import Settings, environ_name

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""What says nothing that a page could use, and is asked by whatever name or address a probe knows."""
_FORMS = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
"""The types of a body that a page may send to any server without asking first; "" is none."""
_MAX_KNOWN = 256


class Browsers:
    """Says which requests may come from a page that has no business here. May be used by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = allowed_hosts(settings)
        self._origins = settings.cors_origins
        self._known: set[str | None] = {None}  # only HTTP/1.0 has none, which no browser speaks

    def check(self, environ: Environ, path: str) -> None:
        """Misdirected for another server's name, UnsupportedMediaType for a form of a page that may not send one."""
        host = environ.get("HTTP_HOST")
        if self._hosts and host not in self._known:
            self._check_host(str(host), path)
        if "HTTP_ORIGIN" in environ and environ["REQUEST_METHOD"] == "POST":
            self._check_form(environ["HTTP_ORIGIN"], host, environ.get("CONTENT_TYPE", ""))

    def _check_host(self, host: str, path: str) -> None:
        if _name(host) in self._hosts:
            if len(self._known) < _MAX_KNOWN:
                self._known.add(host)
        elif path not in HEALTH:
            raise Misdirected(
                f"This server does not answer to the name {host[:256]!r}; "
                f"if it should, name it in {environ_name('allowed_hosts')}"
            )

    def _check_form(self, origin: str, host: str | None, content_type: str) -> None:
        if content_type.partition(";")[0].strip().lower() not in _FORMS:
            return
        if "*" in self._origins or origin in self._origins or origin.partition("://")[2] == host:
            return
        raise UnsupportedMediaType(
            "A web page must send a Content-Type such as application/json, unless its origin is in "
            f"{environ_name('cors_origins')}"
        )


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The names that the server answers to; none where it answers to any."""
    if "*" in settings.allowed_hosts or not (settings.allowed_hosts or settings.listens_on_loopback):
        return frozenset()
    return frozenset((*_LOOPBACK, *(name.lower() for name in settings.allowed_hosts)))


def _name(host: str) -> str:
    """The name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")
