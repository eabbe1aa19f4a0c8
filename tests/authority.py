"""An authority for tests, and the certificates that it makes."""

import ssl
from pathlib import Path

import trustme
from cryptography import x509


class Authority:
    """Signs certificates for a server on localhost and for its clients, and writes them to a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def server(self, name: str = "server") -> tuple[Path, Path]:
        """The files of a new certificate for localhost, and of its key; they are put in place of those of this name."""
        issued = self._ca.issue_cert("localhost", "127.0.0.1")
        return self._write(name, issued)

    def client(self, common_name: str | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority, and that shows a certificate if it is to have a name."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if common_name is not None:
            certificate, key = self._write(
                "client", self._ca.issue_cert(f"{common_name}.example", common_name=common_name)
            )
            context.load_cert_chain(certificate, key)
        return context

    def _write(self, name: str, issued: trustme.LeafCert) -> tuple[Path, Path]:
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


def serial_number(der: bytes | None) -> int:
    """The number of a certificate that a server has shown."""
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number
