"""Signatures of manifests: that the files of a version come from somebody whose key the operator trusts.

`manifest.json.sig` beside a manifest holds its Ed25519 signature (RFC 8032), 64 bytes, as OpenSSL 3 makes it too:

    openssl pkeyutl -sign -rawin -inkey private.pem -in manifest.json -out manifest.json.sig

No TensorFlow here.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from serving.access.watched import Watched, read_file, read_private_file
from serving.errors import FailedPrecondition, SettingsError
from serving.models.manifest import IsSigned

_KEY = re.compile(rb"-----BEGIN .*?(?=-----BEGIN |\Z)", re.DOTALL)


def sign(content: bytes, key_file: Path) -> bytes:
    """The signature of some bytes by the private key (PEM, without a password) in a file that only its owner may read.

    SettingsError where that holds none.
    """
    try:
        key = load_pem_private_key(read_private_file(key_file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{key_file}: holds no private Ed25519 key (PEM, without a password)")
    return key.sign(content)


def signed_by(keys_file: Path) -> IsSigned:
    """What tells signatures by one of the public keys (PEM) in a file; SettingsError names what is none."""
    pems = _KEY.findall(read_file(keys_file))
    if not pems:
        raise SettingsError(f"{keys_file}: holds no public key (PEM)")
    keys = [_public_key(pem, number, keys_file) for number, pem in enumerate(pems, 1)]
    return lambda content, signature: any(_verifies(key, content, signature) for key in keys)


def watched(keys_file: Path, clock: Callable[[], float] = time.monotonic) -> IsSigned:
    """The same with the file as it is now; while it cannot be used, as it was when it last could.

    FailedPrecondition while there has been no file that could be used.
    """

    def never(content: bytes, signature: bytes) -> bool:
        raise FailedPrecondition("the file in SERVING_MANIFEST_KEYS_FILE cannot be used; the log says why")

    keys: Watched[IsSigned] = Watched(keys_file, signed_by, never, clock)
    return lambda content, signature: keys.get()(content, signature)


def _public_key(pem: bytes, number: int, file: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{file}: key {number} is no public Ed25519 key (PEM)")
    return key


def _verifies(key: Ed25519PublicKey, content: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
