"""The certificates of a virtual printer: an authority that nobody knows, and a leaf whose common name is the serial number.

As on the real machines the leaf is of the first X.509 version and names no host, so that no library makes it for us: its few
fields are written here. Keys live in memory; files exist only while OpenSSL reads them.
"""

import datetime
import hashlib
import ssl
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

_FROM = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2044, 1, 1, tzinfo=datetime.UTC)
_SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
_SEQUENCE, _INTEGER, _BITS, _UTC_TIME = 0x30, 0x02, 0x03, 0x17


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs the printers of this process, as the vendor signs the real ones."""

    pem: str
    name: x509.Name
    key: rsa.RSAPrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """What one printer shows: its certificate as DER, and the chain with its key as PEM."""

    der: bytes
    chain: str = field(repr=False)

    @property
    def pin(self) -> str:
        """SHA-256 of the certificate, in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    def server_context(self, newest: ssl.TLSVersion) -> ssl.SSLContext:
        """A new context, with session tickets of its own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, newest
        with tempfile.TemporaryDirectory(prefix="virtual-bambu-") as folder:
            file = Path(folder) / "chain.pem"
            file.touch(0o600)
            file.write_text(self.chain)
            context.load_cert_chain(file)
        return context


@cache
def authority() -> Authority:
    """One for the whole process; blocks for the making of a key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "BBL Technologies Co., Ltd"),
            x509.NameAttribute(NameOID.COMMON_NAME, "BBL CA"),
        ]
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(_FROM).not_valid_after(_UNTIL)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(certificate.public_bytes(serialization.Encoding.PEM).decode(), name, key)


def make_identity(serial: str, signer: Authority) -> Identity:
    """A new key and a certificate for it; blocks for as long as that takes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    der = _leaf(serial, key.public_key(), signer)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Identity(der, private.decode() + ssl.DER_cert_to_PEM_cert(der) + signer.pem)


def _leaf(serial: str, public: rsa.RSAPublicKey, signer: Authority) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)]).public_bytes()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    number = _der(_INTEGER, (1 << 158 | x509.random_serial_number()).to_bytes(20, "big"))  # DER has no leading zeros
    period = _der(_SEQUENCE, *(_der(_UTC_TIME, f"{moment:%y%m%d%H%M%SZ}".encode()) for moment in (_FROM, _UNTIL)))
    body = _der(_SEQUENCE, number, _SHA256_WITH_RSA, signer.name.public_bytes(), period, subject, spki)
    signature = signer.key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    return _der(_SEQUENCE, body, _SHA256_WITH_RSA, _der(_BITS, b"\0", signature))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
