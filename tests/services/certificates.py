"""Certificate authorities for the tests, and certificates that they issue."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as files in PEM form; the key may be read by its owner only."""

    certificate: Path
    key: Path

    @classmethod
    def named(cls, name: str, folder: Path) -> "Issued":
        return cls(folder / f"{name}.crt", folder / f"{name}.key")


class Authority:
    """A certificate authority that keeps its files in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(_builder(self._name, self._key).add_extension(_basic(ca=True), critical=True))
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, hosts: tuple[str, ...] = ()) -> Issued:
        """Issue a certificate for a common name, and for hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        builder = builder.add_extension(_basic(ca=False), critical=True)
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        issued = Issued.named(name, self._folder)
        issued.certificate.write_bytes(self._sign(builder).public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(_pem(key))
        issued.key.chmod(0o600)
        return issued

    def revocations(self, issued: Issued) -> Path:
        """Write a list that revokes a certificate."""
        certificate = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
        now = datetime.now(UTC)
        entry = (
            x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now - DAY).build()
        )
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).add_revoked_certificate(entry)
        signed = builder.last_update(now - DAY).next_update(now + DAY).sign(self._key, hashes.SHA256())
        file = issued.certificate.with_suffix(".crl")
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return file

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.issuer_name(self._name).sign(self._key, hashes.SHA256())


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )


def _basic(*, ca: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=ca, path_length=None)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
