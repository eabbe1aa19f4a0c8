"""JSON Web Tokens of the user's identity provider, verified with the public keys of a JWKS file.

Only asymmetric signatures are accepted, by algorithms from a fixed list, and each key by its own algorithm only: what a
token says of its algorithm cannot turn a public key into a shared secret.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from serving.access.watched import read_file
from serving.errors import SettingsError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 30
"""By how much the clocks of the provider and of this server may differ."""
MAX_REMEMBERED = 1024
MAX_NAME = 128


class Bearer(NamedTuple):
    """Who a verified token was given to, and the roles that it names."""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class TokenRules:
    """What a token must say, and where it names roles: a claim, or one inside another as in `realm_access.roles`."""

    issuer: str
    audience: str
    roles_claim: str


class Verifier:
    """Verifies tokens, and remembers those that it has, since a signature takes longer to check than a small model.

    May be used by several threads at once.
    """

    def __init__(
        self, rules: TokenRules, keys: Mapping[str | None, jwt.PyJWK], clock: Callable[[], float] = time.time
    ) -> None:
        """`keys` are by key id."""
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._remembered: dict[bytes, tuple[Bearer, float]] = {}

    def verify(self, token: str) -> Bearer | None:
        """Whom a token was given to; None where anything about it is not as it must be."""
        mark = hashlib.sha256(token.encode(errors="replace")).digest()
        bearer, until = self._remembered.get(mark, (None, 0.0))
        if bearer is not None and self._clock() < until:
            return bearer
        claims = self._claims(token)
        if claims is None:
            return None
        bearer = Bearer(_name(claims), roles(claims, self._rules.roles_claim))
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered = {}
        self._remembered[mark] = (bearer, int(claims["exp"]) + LEEWAY_SECONDS)
        return bearer

    def _claims(self, token: str) -> dict[str, Any] | None:
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                return None
            return jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # a token may hold any JSON
            return None

    def _key(self, key_id: Any) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id) if isinstance(key_id, str) else None


def read_verifier(path: Path, rules: TokenRules) -> Verifier:
    """A verifier with the signing keys of a JWKS file; SettingsError in one line where it cannot be used."""
    try:
        found = jwt.PyJWKSet.from_json(read_file(path).decode())
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{path}: is no JWKS: {' '.join(str(error).split())}") from None
    keys = {key.key_id: key for key in found.keys if key.public_key_use in (None, "sig")}
    wrong = next((key for key in keys.values() if key.algorithm_name not in ALGORITHMS), None)
    if wrong is not None:
        raise SettingsError(
            f"{path}: key {wrong.key_id!r} is for {wrong.algorithm_name}; only {', '.join(ALGORITHMS)} are used"
        )
    if not keys:
        raise SettingsError(f"{path}: has no key for signatures")
    return Verifier(rules, keys)


def roles(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    """The roles that a claim names: a list of texts, or one text with spaces between them."""
    value = claims.get(claim)
    if value is None and "." in claim:
        outer, _, inner = claim.partition(".")
        within = claims.get(outer)
        return roles(within, inner) if isinstance(within, Mapping) else ()
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(role for role in value if isinstance(role, str)) if isinstance(value, list) else ()


def _name(claims: Mapping[str, Any]) -> str:
    """What the log calls the holder."""
    name = claims.get("sub") or claims.get("azp") or claims.get("client_id") or "-"
    return str(name)[:MAX_NAME]
