"""Signatures of manifests: that a version comes from somebody who may publish.

`manifest.json.sig` beside a manifest holds its Ed25519 signature (RFC 8032), 64 bytes, as OpenSSL makes it too:

    openssl pkeyutl -sign -rawin -inkey private.pem -in manifest.json -out manifest.json.sig

No TensorFlow here.
"""

import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from serving.errors import SettingsError
from serving.models.manifest import IsSigned

_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def sign(content: bytes, key_file: Path) -> bytes:
    """The signature of some bytes by the private key (PEM, without a password) in a file; SettingsError without one."""
    try:
        key = load_pem_private_key(_read(key_file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{key_file}: holds no private Ed25519 key (PEM, without a password)")
    return key.sign(content)


def signed_by(keys_file: Path) -> IsSigned:
    """What tells signatures by the public keys (PEM, one or several) in a file; SettingsError where none is there."""
    keys = [_public_key(pem, keys_file) for pem in _PUBLIC_KEY.findall(_read(keys_file))]
    if not keys:
        raise SettingsError(f"{keys_file}: holds no public key (PEM)")
    return lambda content, signature: any(_verifies(key, content, signature) for key in keys)


def _public_key(pem: bytes, file: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{file}: holds a public key that is none of Ed25519")
    return key


def _verifies(key: Ed25519PublicKey, content: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
