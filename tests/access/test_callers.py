"""Who asks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.access.callers import Callers, certificate_names, check_access, make_callers
from serving.access.grants import Right
from serving.errors import SettingsError
from serving.settings import Settings
from tests.access.keys import certificate, key, role, write
from tests.access.tokens import AUDIENCE, ISSUER, jwk, token, write_jwks

KEY, ENTRY = key("fraud", "fraud-*", "predict")
CERTIFICATE = {
    "subject": ((("organizationName", "A Bank"),), (("commonName", "batch"),)),
    "subjectAltName": (("DNS", "batch.example"), ("IP Address", "10.0.0.1"), ("URI", "spiffe://bank/batch")),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    keys = write(tmp_path / "keys.json", ENTRY, certificate("b", "batch.example"), role("r", "analyst"))
    jwks = write_jwks(tmp_path / "jwks.json", jwk())
    return Settings(keys_file=keys, jwt_jwks_file=jwks, jwt_issuer=ISSUER, jwt_audience=AUDIENCE)


@pytest.fixture
def callers(settings: Settings) -> Callers:
    return make_callers(settings)


def names(caller: Any) -> list[str]:
    return [caller.name, *(grant.name for grant in caller.grants)]


def test_a_key_a_token_and_a_certificate_each_say_who_asks(callers: Callers) -> None:
    assert names(callers.identify(KEY)) == ["key:fraud", "fraud"]
    assert names(callers.identify(token())) == ["jwt:alice", "r"]
    assert names(callers.identify(None, ("batch", "batch.example"))) == ["cert:batch", "b"]


def test_who_shows_nothing_is_nobody(callers: Callers) -> None:
    assert callers.identify(None) is None


@pytest.mark.parametrize("credential", ["", "svk.fraud.x", "x", token(aud="other")])
def test_a_key_or_token_that_does_not_hold_is_not_made_up_for_by_a_certificate(
    callers: Callers, credential: str
) -> None:
    assert callers.identify(credential, ("batch.example",)) is None


def test_a_token_or_certificate_that_no_entry_names_is_granted_nothing(callers: Callers) -> None:
    assert names(callers.identify(token(roles=[]))) == ["jwt:alice"]
    assert names(callers.identify(None, ("stranger",))) == ["cert:stranger"]


def test_a_role_cannot_be_had_by_a_certificate_of_its_name(callers: Callers) -> None:
    assert names(callers.identify(None, ("analyst",))) == ["cert:analyst"]
    assert names(callers.identify(token(roles=["batch.example"]))) == ["jwt:alice"]


def test_without_a_keys_file_a_certificate_grants_all_but_administration(tmp_path: Path) -> None:
    caller = make_callers(Settings(tls_client_ca_file=tmp_path / "ca.pem")).identify(None, ("anyone",))
    assert caller is not None
    assert caller.grants[0].covers("any")
    assert caller.grants[0].may == frozenset(Right) - {Right.ADMIN}


def test_the_names_of_a_certificate_are_its_common_name_and_what_stands_for_it() -> None:
    assert certificate_names(CERTIFICATE) == ("batch", "batch.example", "spiffe://bank/batch")
    assert certificate_names({"subject": ()}) == ("-",)
    assert certificate_names(None) == certificate_names({}) == ()


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ({"jwt_issuer": ""}, "SERVING_JWT_JWKS_FILE needs SERVING_JWT_ISSUER too"),
        ({"jwt_audience": ""}, "SERVING_JWT_JWKS_FILE needs SERVING_JWT_AUDIENCE too"),
        ({"jwt_jwks_file": None}, "SERVING_JWT_ISSUER needs SERVING_JWT_JWKS_FILE too"),
        ({"keys_file": None}, "SERVING_JWT_JWKS_FILE needs SERVING_KEYS_FILE too; its entries say what each role"),
        ({"keys_file": Path("/nowhere/keys")}, "/nowhere/keys: cannot be read: No such file"),
        ({"jwt_jwks_file": Path("/nowhere/jwks")}, "/nowhere/jwks: cannot be read: No such file"),
    ],
)
def test_settings_that_go_together_are_refused_apart(settings: Settings, without: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_access(replace(settings, **without))
    assert caught.value.message.startswith(message)


def test_a_worker_whose_keys_file_cannot_be_used_lets_nobody_in(settings: Settings) -> None:
    assert settings.keys_file is not None
    settings.keys_file.chmod(0o644)
    callers = make_callers(settings)
    assert callers.identify(KEY) is None
    assert names(callers.identify(token())) == ["jwt:alice"]
