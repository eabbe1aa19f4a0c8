"""JSON Web Tokens."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from serving.access.tokens import TokenRules, Verifier, read_verifier, roles
from serving.errors import SettingsError
from tests.access.tokens import AUDIENCE, EC, ISSUER, RSA, jwk, token, write_jwks
from tests.fakes import FakeClock

RULES = TokenRules(ISSUER, AUDIENCE, "roles")
STRANGER = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    return read_verifier(write_jwks(tmp_path / "jwks.json", jwk(), jwk(EC, "two")), RULES)


def test_a_token_names_its_holder_and_roles(verifier: Verifier) -> None:
    bearer = verifier.verify(token(roles=["analyst", "admin", 5]))
    assert bearer == ("alice", ("analyst", "admin"))


def test_each_key_verifies_with_its_own_algorithm(verifier: Verifier) -> None:
    assert verifier.verify(token(EC, "ES256", {"kid": "two"}))
    assert verifier.verify(token(headers={"kid": "two"})) is None
    assert verifier.verify(token(EC, "ES256")) is None
    assert verifier.verify(token(algorithm="PS256")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"exp": time.time() - 60},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": time.time() + 600},
        {"iat": time.time() + 600},
        {"sub": 5},
    ],
    ids=str,
)
def test_a_token_whose_claims_are_not_as_they_must_be_is_nobodys(verifier: Verifier, changes: dict[str, Any]) -> None:
    assert verifier.verify(token(**changes)) is None


def test_clocks_may_differ_by_half_a_minute(verifier: Verifier) -> None:
    assert verifier.verify(token(exp=time.time() - 20))
    assert verifier.verify(token(nbf=time.time() + 20))


def test_an_audience_among_others_is_enough(verifier: Verifier) -> None:
    assert verifier.verify(token(aud=["other", AUDIENCE]))


def test_a_token_that_a_stranger_signed_is_nobodys(verifier: Verifier) -> None:
    assert verifier.verify(token(STRANGER)) is None


def test_a_token_of_an_unknown_key_is_nobodys(verifier: Verifier) -> None:
    assert verifier.verify(token(headers={"kid": "three"})) is None
    assert verifier.verify(token(headers={})) is None


def test_a_token_need_not_name_the_key_where_there_is_just_one(tmp_path: Path) -> None:
    assert read_verifier(write_jwks(tmp_path / "jwks.json", jwk(key_id=None)), RULES).verify(token(headers={}))


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_token_without_a_signature_is_nobodys(verifier: Verifier) -> None:
    _, claims, _ = token().split(".")
    for algorithm in ("none", "None", "NONE"):
        assert verifier.verify(f"{encoded({'alg': algorithm, 'kid': 'one'})}.{claims}.") is None


def test_a_public_key_is_no_shared_secret(verifier: Verifier) -> None:
    _, claims, _ = token().split(".")
    signed = f"{encoded({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{claims}"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = RSA.public_key().public_bytes(serialization.Encoding.PEM, form)
    mac = hmac.digest(public, signed.encode(), hashlib.sha256)
    assert verifier.verify(f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}") is None


def test_a_key_that_the_token_brings_along_is_not_used(verifier: Verifier) -> None:
    assert verifier.verify(token(STRANGER, headers={"jwk": jwk(STRANGER), "kid": "one"})) is None
    assert verifier.verify(token(STRANGER, headers={"jku": "https://evil.example", "kid": "x"})) is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "a.b.c.d", "eyJ.eyJ.x", "\udc80.é.x", "[" * 5000, encoded({"kid": 5}) + ".e30.x"]
)
def test_what_is_no_token_is_nobodys(verifier: Verifier, text: str) -> None:
    assert verifier.verify(text) is None


def test_a_token_with_one_character_changed_is_nobodys(verifier: Verifier) -> None:
    good = token()
    head, claims, signature = good.split(".")
    assert verifier.verify(good)
    for changed in (f"{head}.{claims[:-3]}abc.{signature}", f"{head}.{claims}.{signature[:9]}_{signature[10:]}"):
        assert changed != good
        assert verifier.verify(changed) is None


class Asked(dict[str | None, jwt.PyJWK]):
    """Keys that count how often one was asked for."""

    times = 0

    def get(self, key_id: Any, default: Any = None) -> Any:
        self.times += 1
        return super().get(key_id, default)


def test_a_token_is_verified_once_and_again_when_it_should_have_expired() -> None:
    keys, clock = Asked(one=jwt.PyJWK(jwk()), two=jwt.PyJWK(jwk(EC, "two"))), FakeClock(time.time())
    verifier, sent = Verifier(RULES, keys, clock), token(exp=time.time() + 600)
    assert [verifier.verify(sent), verifier.verify(sent)] == [("alice", ("analyst",))] * 2
    assert keys.times == 1
    clock.pass_by(600 + 31)
    verifier.verify(sent)
    assert keys.times == 2


@pytest.mark.parametrize(
    ("claims", "claim", "expected"),
    [
        ({"roles": ["a", "b"]}, "roles", ("a", "b")),
        ({"scope": "a b  c"}, "scope", ("a", "b", "c")),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"https://x.example/roles": ["a"]}, "https://x.example/roles", ("a",)),
        ({"roles": {"a": 1}}, "roles", ()),
        ({"roles": [["a"], None, "b"]}, "roles", ("b",)),
        ({"realm_access": "a"}, "realm_access.roles", ()),
        ({}, "roles", ()),
    ],
)
def test_roles_are_a_list_or_a_text_perhaps_inside_another_claim(
    claims: dict[str, Any], claim: str, expected: tuple[str, ...]
) -> None:
    assert roles(claims, claim) == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "s"}], "only RS256"),
        ([jwk(use="enc")], "no key for signatures"),
        ([{"kty": "odd"}], "is no JWKS"),
    ],
)
def test_a_jwks_without_public_keys_for_signatures_is_refused(tmp_path: Path, keys: list[Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_verifier(write_jwks(tmp_path / "jwks.json", *keys), RULES)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 5}', '{"keys": [5]}', "\xff", "5"])
def test_a_file_that_is_no_jwks_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        read_verifier(file, RULES)
    assert "\n" not in caught.value.message
