"""Who may go on: the one check of every request, before anything of it is looked at but its path and its headers.

The path is understood as the protocols understand it, by their own patterns, on the path as it was sent. A path that
none of them knows goes no further. What was decided holds on: for the rest of the request only the model that the check
saw exists (`Guard.sees`), so that a path which a route understands differently leads nowhere.
"""

from collections.abc import Callable
from typing import Any

from serving.access.callers import Callers, certificate_names, check_access, is_guarded, make_callers
from serving.access.grants import OPEN, Admission, Caller, Grant, Need, decide
from serving.access.limits import UNLIMITED, Limiter
from serving.errors import NotFound, PermissionDenied, ResourceExhausted, Unauthenticated
from serving.rest import rights
from serving.rest.trace import Trace, environ_in_hand, malformed, trace
from serving.settings import Settings

_NOBODY = "An API key or a token is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
_NOT_HELD = "The API key or token is not valid: it is unknown, malformed, expired or revoked"


class Guard:
    """Lets requests in by what their caller was granted. May be used by several threads at once."""

    def __init__(
        self,
        callers: Callers,
        limiter: Limiter,
        origins: tuple[str, ...] = (),
        needed: Callable[[str], Need | None] = rights.needed,
    ) -> None:
        """`origins` are those whose pages may call, and so may ask without a key whether they may."""
        self._callers = callers
        self._limiter = limiter
        self._origins = origins
        self._needed = needed

    def admit(self, notes: Trace) -> None:
        """Let the request in hand go on; Unauthenticated, PermissionDenied, ResourceExhausted or NotFound if not."""
        environ = environ_in_hand()
        need = self._needed(notes.path)
        if need == OPEN or self._is_preflight(environ):
            return
        caller = self._identify(environ)
        notes.caller_name = caller.name
        if need is None:
            raise NotFound(malformed())
        admission = decide(caller, need)
        if admission is None:
            raise PermissionDenied(_denied(caller, need))
        self._charge(admission, notes)
        notes.admission = admission

    def sees(self, model: str) -> bool:
        """Whether a model exists for the request in hand."""
        admission = trace().admission
        return admission is not None and admission.sees(model)

    def release(self, notes: Trace) -> None:
        """Give back what a request was charged for, if it was."""
        if notes.charged:
            self._limiter.give_back(notes.charged)
            notes.charged = ""

    def _identify(self, environ: dict[str, Any]) -> Caller:
        credential = _credential(environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_API_KEY"))
        certificate = environ.get("serving.client_certificate")
        caller = self._callers.identify(credential, certificate_names(certificate))
        if caller is None:
            raise Unauthenticated(_NOBODY if credential is None else _NOT_HELD)
        return caller

    def _charge(self, admission: Admission, notes: Trace) -> None:
        grant = _charged(admission)
        if grant is None or grant.limit is UNLIMITED:
            return
        wait = self._limiter.take(grant.name, grant.limit)
        if wait:
            raise ResourceExhausted(f"{grant.name} has reached its limit of requests", wait)
        notes.charged = grant.name

    def _is_preflight(self, environ: dict[str, Any]) -> bool:
        """Whether a browser asks, as it does without credentials, if a page of a known origin may call."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return False
        return "*" in self._origins or environ.get("HTTP_ORIGIN", "") in self._origins


def make_guard(settings: Settings) -> Guard | None:
    """The guard that the settings ask for; None where nobody is asked.

    A process alone refuses files that cannot be used. A worker, whose parent has refused them when the server started,
    lets nobody in until they can be used again: it must not take the server down with it.
    """
    if settings.runtime_dir is None:
        check_access(settings)
    if not is_guarded(settings):
        return None
    limiter = Limiter(settings.limits_dir, settings.worker_index, 4 * settings.workers)
    return Guard(make_callers(settings), limiter, settings.cors_origins)


def _credential(authorization: str | None, api_key: str | None) -> str | None:
    """The key or token that was sent; "" for one that cannot be right: of another scheme, or two that differ."""
    if authorization is None:
        return api_key
    scheme, _, sent = authorization.partition(" ")
    sent = sent.strip()
    return sent if scheme.lower() == "bearer" and api_key in (None, sent) else ""


def _charged(admission: Admission) -> Grant | None:
    """The grant that a request counts for: the one that lets it in, else the caller's first."""
    return admission.grant or next(iter(admission.caller.grants), None)


def _denied(caller: Caller, need: Need) -> str:
    where = "" if need.model is None else f" on model {need.model}"
    return f"{caller.name} has no right to {need.right}{where}"
