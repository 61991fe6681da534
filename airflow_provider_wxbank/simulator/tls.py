# SPDX-License-Identifier: Apache-2.0
"""https in the simulator: a certificate for WeChat Pay's names and this machine's, of a CA that a folder keeps.

A client trusts the CA once. The server's certificate is made anew at each start.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from airflow_provider_wxbank.simulator.key_folder import write_private
from airflow_provider_wxbank.simulator.names import name_of

HOSTS = ("api.mch.weixin.qq.com", "api2.mch.weixin.qq.com")
"""WeChat Pay's own (P/4012075113)."""

CA_FILE = "tls_ca.pem"

_CA_DAYS, _SERVER_DAYS = 3650, 397


def server_files(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key for the server, in a folder that has the CA, or gets one.

    :raises ValueError: the CA in it is damaged.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, ca_key = _authority(folder)
    key = generate_private_key(SECP256R1())
    names = [
        *map(x509.DNSName, ("localhost", *HOSTS)),
        *(x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", "::1")),
    ]
    certificate = (
        _builder("WeChat Pay simulator", ca.subject, key, _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    files = folder / "tls_server.pem", folder / "tls_server_key.pem"
    write_private(files[0], certificate.public_bytes(Encoding.PEM).decode())
    write_private(files[1], _private(key))
    return files


def _authority(folder: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    certificate_file, key_file = folder / CA_FILE, folder / "tls_ca_key.pem"
    if certificate_file.exists() and key_file.exists():
        try:
            ca = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = load_pem_private_key(key_file.read_bytes(), None)
        except ValueError:
            raise ValueError(f"{certificate_file} or its key is damaged: remove both") from None
        if not isinstance(key, EllipticCurvePrivateKey) or ca.public_key() != key.public_key():
            raise ValueError(f"{certificate_file} and its key do not belong together: remove both")
        return ca, key
    key = generate_private_key(SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    name = "WeChat Pay simulator CA"
    ca = (
        _builder(name, name_of(name), key, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, SHA256())
    )
    write_private(key_file, _private(key))
    write_private(certificate_file, ca.public_bytes(Encoding.PEM).decode())
    return ca, key


def _builder(whose: str, issuer: x509.Name, key: EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name_of(whose))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _private(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
