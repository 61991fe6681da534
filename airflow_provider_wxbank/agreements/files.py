"""Agreement files: how many rows go into one, what it is called, what is known of it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_wxbank.agreements.encryption import encrypt_lines, line_bytes
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.keys import PlatformKey
from airflow_provider_wxbank.wechatpay.packages import MAX_BYTES, MAX_ROWS

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True, slots=True)
class AgreementFile:
    """An agreement file that was written.

    :param bytes: length of the content.
    :param sha256: of the content, lower-case hexadecimal.
    :param serial_no: the platform key that encrypted the lines.
    """

    filename: str
    rows: int
    bytes: int
    sha256: str
    serial_no: str


@dataclass(frozen=True, slots=True)
class PlainFile:
    """The numbers of one agreement file, and the key taken to encrypt them. Lives in memory only."""

    filename: str
    numbers: list[str] = field(repr=False)
    key: PlatformKey

    def encrypted(self) -> bytes:
        """The content of the agreement file; another one at every call."""
        return encrypt_lines(self.key.public_key, self.numbers)


def rows_per_file(key: PlatformKey, max_rows: int) -> int:
    """Rows that fit into one file: the least of ``max_rows``, 5,500, and what 2,000,000 bytes hold."""
    return min(max_rows, MAX_ROWS, MAX_BYTES // line_bytes(key.public_key))


def check_max_rows(max_rows: int) -> None:
    """:raises InvalidInput: not 1 to 5,500."""
    if not isinstance(max_rows, int) or not 1 <= max_rows <= MAX_ROWS:
        raise InvalidInput(f"max_rows_per_file must be 1 to {MAX_ROWS}, not {max_rows!r}")


def naming_key(private_key: RSAPrivateKey) -> bytes:
    """The secret behind filenames and manifests: derived from the merchant's private key, so nothing more is kept.

    Numbers are easily guessed; without a key, a digest in a filename would confirm a guess.
    """
    secret = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return HKDF(SHA256(), 32, salt=None, info=b"airflow-provider-wxbank names and manifests").derive(secret)


def run_prefix(dag_id: str, run_id: str) -> str:
    """The default prefix: the same for every try of a DAG run, another one for the next run."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", dag_id)[:40]
    digest = hashlib.sha256(f"{dag_id}\n{run_id}".encode()).hexdigest()
    return f"{readable}-{digest[:12]}"


def check_prefix(prefix: str) -> None:
    """:raises InvalidInput: not 1 to 80 of ``A-Z a-z 0-9 _ . -``."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(f"prefix {prefix[:100]!r} must be 1 to 80 characters of A-Z a-z 0-9 _ . -")


def named(prefix: str, key: bytes, bank_type: str, content: bytes) -> str:
    """A filename: the prefix and a keyed digest, so that the same content makes the same name.

    :param content: the numbers, a line each, or the bytes of a file that is encrypted already.
    """
    digest = hmac.new(key, bank_type.encode() + b"\n" + content, hashlib.sha256).hexdigest()
    return f"{prefix}-{digest[:32]}.csv"


def content_of(numbers: Sequence[str]) -> bytes:
    """What a filename is the digest of: the numbers, a line each."""
    return "\n".join(numbers).encode()


def batches(
    numbers: Iterable[Sequence[str]], encryption_key: Callable[[], PlatformKey], max_rows: int
) -> Iterator[tuple[PlatformKey, list[str]]]:
    """Cut a stream of numbers into the rows of files. Each takes its key once, when it begins."""
    stream = chain.from_iterable(numbers)
    for first in stream:
        key = encryption_key()
        yield key, [first, *islice(stream, rows_per_file(key, max_rows) - 1)]


def plain_files(
    batches: Iterable[tuple[PlatformKey, list[str]]], prefix: str, key: bytes, bank_type: str
) -> Iterator[PlainFile]:
    """Names for batches of numbers. A batch that came before is left out: its numbers are in the list already."""
    seen: set[str] = set()
    for platform_key, numbers in batches:
        filename = named(prefix, key, bank_type, content_of(numbers))
        if filename not in seen:
            seen.add(filename)
            yield PlainFile(filename, numbers, platform_key)
