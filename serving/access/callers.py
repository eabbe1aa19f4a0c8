"""Who asks: the caller that holds a key, a token or a client certificate."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from serving.access.grants import Caller, Grant, Right
from serving.access.keys import PREFIX, KeyRing, read_keys
from serving.access.watched import Watched
from serving.errors import SettingsError
from serving.settings import Settings, environ_name

if TYPE_CHECKING:  # imported where it is needed: cryptography takes a quarter of a second, and only tokens need it
    from serving.access.tokens import TokenRules, Verifier

ANY_CERTIFICATE = Grant("certificate", ("*",), frozenset(Right) - {Right.ADMIN})
"""What a certificate grants where no keys file says more: whom its authority has signed may use the server."""


def is_guarded(settings: Settings) -> bool:
    """Whether the settings ask callers who they are."""
    return bool(settings.keys_file or settings.jwt_jwks_file or settings.tls_client_ca_file)


def check_access(settings: Settings) -> None:
    """Raise SettingsError unless the files and settings that say who may do what can be used together."""
    if settings.keys_file is not None:
        read_keys(settings.keys_file)
    rules = _token_rules(settings)
    if rules is not None and settings.jwt_jwks_file is not None:
        from serving.access.tokens import read_verifier

        read_verifier(settings.jwt_jwks_file, rules)


def make_callers(settings: Settings) -> "Callers":
    """The callers that the settings know of; nobody, while a file that names them cannot be used."""
    keys_file, jwks_file, rules = settings.keys_file, settings.jwt_jwks_file, _token_rules(settings)
    keys = None if keys_file is None else Watched(keys_file, read_keys, KeyRing())
    if jwks_file is None or rules is None:
        return Callers(keys, None)
    from serving.access.tokens import Verifier, read_verifier

    return Callers(keys, Watched(jwks_file, partial(read_verifier, rules=rules), Verifier(rules, {})))


class Callers:
    """Everyone whom the files name. May be used by several threads at once."""

    def __init__(self, keys: Watched[KeyRing] | None, tokens: "Watched[Verifier] | None") -> None:
        self._keys = keys
        self._tokens = tokens

    def identify(self, credential: str | None, certificate_names: tuple[str, ...] = ()) -> Caller | None:
        """The caller that shows a key or a token, else a client certificate with these names; None for nobody.

        A key or a token that does not hold is not made up for by a certificate.
        """
        if credential is None:
            return self._by_certificate(certificate_names) if certificate_names else None
        if credential.startswith(PREFIX):
            return None if self._keys is None else self._keys.get().by_key(credential, datetime.now(UTC))
        return self._by_token(credential)

    def _by_token(self, token: str) -> Caller | None:
        bearer = None if self._tokens is None else self._tokens.get().verify(token)
        if bearer is None or self._keys is None:
            return None
        return Caller(f"jwt:{bearer.name}", self._keys.get().grants("role", bearer.roles, datetime.now(UTC)))

    def _by_certificate(self, names: tuple[str, ...]) -> Caller:
        name = f"cert:{names[0]}"
        if self._keys is None:
            return Caller(name, (ANY_CERTIFICATE,))
        return Caller(name, self._keys.get().grants("certificate", names, datetime.now(UTC)))


def certificate_names(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names of a verified certificate, as the ssl module describes it: common names, then DNS names and URIs."""
    if not certificate:
        return ()
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    common = [value for kind, value in subject if kind == "commonName"]
    others = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI")]
    return tuple(dict.fromkeys([*common, *others])) or ("-",)


def _token_rules(settings: Settings) -> "TokenRules | None":
    """What tokens must say; None without tokens, SettingsError where some of the settings that go together lack."""
    needed = ("jwt_jwks_file", "jwt_issuer", "jwt_audience")
    given = [field for field in needed if getattr(settings, field)]
    if not given:
        return None
    missing = [field for field in (*needed, "keys_file") if not getattr(settings, field)]
    if missing:
        raise SettingsError(
            f"{environ_name(given[0])} needs {environ_name(missing[0])} too"
            + ("; its entries say what each role may do" if missing[0] == "keys_file" else "")
        )
    from serving.access.tokens import TokenRules

    return TokenRules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_roles_claim)
