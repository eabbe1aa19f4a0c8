"""The server's side of TLS."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from serving import tls
from serving.errors import SettingsError
from serving.settings import Settings
from tests.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def settings(authority: Authority) -> dict[str, Any]:
    certificate, key = authority.server()
    return {"tls_cert_file": certificate, "tls_key_file": key}


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls.make_context(Settings()) is None


def test_a_certificate_is_shown_with_tls_1_2_or_later(settings: dict[str, Any]) -> None:
    context = tls.make_context(Settings(**settings))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(("wish", "mode"), [("required", ssl.CERT_REQUIRED), ("optional", ssl.CERT_OPTIONAL)])
def test_client_certificates_are_asked_for_where_an_authority_is_given(
    settings: dict[str, Any], authority: Authority, wish: Any, mode: ssl.VerifyMode
) -> None:
    context = tls.make_context(Settings(**settings, tls_client_ca_file=authority.ca_file, tls_client_cert=wish))
    assert context is not None
    assert context.verify_mode is mode
    assert len(context.get_ca_certs()) == 1


def test_a_file_may_hold_the_certificate_and_the_key(settings: dict[str, Any], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(settings["tls_key_file"].read_bytes() + settings["tls_cert_file"].read_bytes())
    assert tls.make_context(Settings(tls_cert_file=both)) is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_cert_file": None}, "SERVING_TLS_KEY_FILE needs SERVING_TLS_CERT_FILE too"),
        (
            {"tls_cert_file": None, "tls_key_file": None, "tls_client_ca_file": Path("ca.pem")},
            "SERVING_TLS_CLIENT_CA_FILE needs SERVING_TLS_CERT_FILE too",
        ),
        ({"tls_cert_file": Path("/nowhere.pem")}, "/nowhere.pem: cannot be read: No such file"),
        ({"tls_key_file": Path("/nowhere.key")}, "/nowhere.key: cannot be read: No such file"),
        ({"tls_client_ca_file": Path("/nowhere.pem")}, "/nowhere.pem: cannot be read: No such file"),
        ({"tls_key_file": Path(__file__)}, "server.pem: no certificate with its private key: "),
        ({"tls_cert_file": Path(__file__)}, "test_tls.py: no certificate with its private key: "),
        ({"tls_client_ca_file": Path(__file__)}, "test_tls.py: no certificate of an authority: "),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(
    settings: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        tls.make_context(Settings(**{**settings, **given}))
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_the_key_of_another_certificate_is_refused(settings: dict[str, Any], authority: Authority) -> None:
    _, key = authority.server("other")
    with pytest.raises(SettingsError, match="no certificate with its private key: key values mismatch"):
        tls.make_context(Settings(**{**settings, "tls_key_file": key}))


def test_an_encrypted_key_is_refused_and_nobody_is_asked(settings: dict[str, Any]) -> None:
    key = load_pem_private_key(settings["tls_key_file"].read_bytes(), None)
    settings["tls_key_file"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(SettingsError, match="the key is encrypted"):
        tls.make_context(Settings(**settings))


@pytest.mark.parametrize("spoil", [lambda file: file.write_text("half a certif"), Path.unlink])
def test_a_certificate_that_turns_bad_is_logged_and_the_last_good_one_stays(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    keeper = tls.Keeper()
    good = keeper.load(Settings(**settings))
    spoil(settings["tls_cert_file"])
    assert keeper.load(Settings(**settings)) is good
    assert "the certificate that was loaded before stays" in caplog.text
    with pytest.raises(SettingsError):
        tls.Keeper().load(Settings(**settings))
