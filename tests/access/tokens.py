"""Tokens as an identity provider would make them."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://id.example"
AUDIENCE = "models"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(private: Any = RSA, key_id: str | None = "one", **more: Any) -> dict[str, Any]:
    """The public key as the provider publishes it."""
    algorithm: Any = (
        jwt.algorithms.RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    )
    fields: dict[str, Any] = algorithm.to_jwk(private.public_key(), as_dict=True)
    return fields | ({} if key_id is None else {"kid": key_id}) | more


def write_jwks(path: Path, *keys: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"keys": keys or (jwk(),)}))
    return path


def token(private: Any = RSA, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token that holds, but for the claims in `changes`; a claim that is None is left out."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 600, "roles": ["analyst"], **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    sent = {"typ": "JWT", **({"kid": "one"} if headers is None else headers)}
    return jwt.PyJWS().encode(json.dumps(claims).encode(), private, algorithm, headers=sent)
