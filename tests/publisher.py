"""Somebody who signs the manifests of models, and a server that demands signatures."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from serving.models.provenance import Inspector
from serving.models.signing import sign
from serving.settings import Settings


class Publisher:
    """Somebody with a pair of keys, in the files `private` and `public`."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey | None = None) -> None:
        directory.mkdir()
        self.private, self.public = directory / "private.pem", directory / "public.pem"
        key = key or Ed25519PrivateKey.generate()
        self.private.touch(mode=0o600)
        self.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def sign(self, content: bytes) -> bytes:
        return sign(content, self.private)


def inspect_signed(version: Path, keys_file: Path) -> None:
    """Have a version looked at by a server that demands a signature by one of these keys."""
    Inspector.from_settings(Settings(manifest_keys_file=keys_file))(version)
