# SPDX-License-Identifier: Apache-2.0
"""Agreement files: how many rows go into one, what it is called, and what is known about it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.crypto.signing import Signer, naming_seed
from airflow_provider_wxbank.wechatpay.crypto.suites import MAX_NUMBER_BYTES, PublicKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

MAX_ROWS = 5500
"""Rows of a file (FAQ 4015182386: 单个文件最多支持上传5500条)."""

MAX_BYTES = 2_000_000
"""Bytes of a file (chapter9_8_1: 文件大小不能超过2MB); whether MB is 10^6 or 2^20 is not stated, so the smaller."""

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_FILENAME = re.compile(r"[A-Za-z0-9_.-]{4,128}")
_BANK_TYPE = re.compile(r"[A-Z0-9]+(_[A-Z]+)?")


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
    """The numbers of one agreement file, and the key to encrypt them with. Lives in memory only."""

    filename: str
    numbers: list[str] = field(repr=False)
    key: PlatformKey

    def encrypted(self) -> bytes:
        """The content of the agreement file; it is different at every call, since encryption is random."""
        return self.key.public_key.encrypt_lines(self.numbers)


def rows_that_fit(key: PublicKey, numbers: Sequence[str]) -> int:
    """How many of some numbers, from the first one on, fit into the 2,000,000 bytes of one file.

    Each counts as the longest line that it may become, since the same numbers must be cut alike whenever they are cut.
    """
    if may_fit(key, len(numbers), MAX_NUMBER_BYTES) or may_fit(key, len(numbers), max(map(len, numbers), default=0)):
        return len(numbers)
    ends = accumulate(key.line_bytes(len(number)) for number in numbers)
    return sum(end <= MAX_BYTES for end in ends)


def may_fit(key: PublicKey, rows: int, longest: int) -> bool:
    """Whether so many numbers fit into one file if all of them are as long as the longest.

    :param longest: bytes.
    """
    return rows * key.line_bytes(longest) <= MAX_BYTES


def check_max_rows(max_rows: int) -> None:
    """:raises InvalidInput: it is not from 1 to 5,500."""
    if type(max_rows) is not int or not 1 <= max_rows <= MAX_ROWS:
        raise InvalidInput(f"max_rows_per_file must be 1 to {MAX_ROWS}, not {max_rows!r}")


def naming_key(signer: Signer, naming_secret: str | None) -> bytes:
    """The secret behind filenames and manifests.

    Numbers are easy to guess, and a digest without a key would confirm a guess.

    :param naming_secret: the connection's, with which filenames stay when the merchant's key is renewed; None derives
        one from the signer.
    """
    info = b"airflow-provider-wxbank names and manifests, 3"
    return HKDF(SHA256(), 32, salt=None, info=info).derive(naming_seed(signer, naming_secret))


def run_prefix(dag_id: str, run_id: str) -> str:
    """The default prefix: the same for every try of a DAG run, and another one for the next run."""
    # The readable part does not name the run, and may be the same for two DAGs, so a digest of both follows.
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", dag_id)[:40]
    digest = hashlib.sha256(f"{dag_id}\n{run_id}".encode()).hexdigest()
    return f"{readable}-{digest[:12]}"


def check_prefix(prefix: str) -> None:
    """:raises InvalidInput: it is not 1 to 80 characters of ``A-Z a-z 0-9 _ . -``."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(f"prefix {prefix[:100]!r} must be 1 to 80 characters of A-Z a-z 0-9 _ . -")


def named(prefix: str, naming_secret: bytes, bank_type: str, content: bytes) -> str:
    """A filename: the prefix and a keyed digest, so that the same content makes the same name.

    :param content: the numbers, one a line, or the bytes of a file that is encrypted already.
    """
    # With the bank type: the same numbers for another bank type are another import.
    digest = hmac.new(naming_secret, bank_type.encode() + b"\n" + content, hashlib.sha256).hexdigest()
    return f"{prefix}-{digest[:32]}.csv"


def content_of(numbers: Sequence[str]) -> bytes:
    """What the digest in a filename covers: the numbers, one a line."""
    return "\n".join(numbers).encode()


def batches(
    numbers: Iterable[Sequence[str]], encryption_key: Callable[[], PlatformKey], max_rows: int
) -> Iterator[tuple[PlatformKey, list[str]]]:
    """Cut a stream of numbers into the rows of files. Each file takes its key once."""
    stream, rest = chain.from_iterable(numbers), list[str]()
    limit = min(max_rows, MAX_ROWS)
    # No key is asked for before there is a number to encrypt with it.
    while batch := [*rest, *islice(stream, limit - len(rest))]:
        key = encryption_key()
        fit = rows_that_fit(key.public_key, batch)
        rest = batch[fit:]
        yield key, batch[:fit]


def plain_files(
    batches: Iterable[tuple[PlatformKey, list[str]]], prefix: str, naming_secret: bytes, bank_type: str
) -> Iterator[PlainFile]:
    """Names for batches of numbers. A batch that came before is left out: its numbers are exported already."""
    seen: set[str] = set()
    for platform_key, numbers in batches:
        filename = named(prefix, naming_secret, bank_type, content_of(numbers))
        if filename not in seen:
            seen.add(filename)
            yield PlainFile(filename, numbers, platform_key)


def check_filename(filename: str) -> None:
    """:raises InvalidInput: it is not 4 to 128 characters of ``A-Z a-z 0-9 _ . -``."""
    if not isinstance(filename, str) or not _FILENAME.fullmatch(filename):
        raise InvalidInput(f"filename {str(filename)[:140]!r} must be 4 to 128 characters of A-Z a-z 0-9 _ . -")


def check_bank_type(bank_type: str) -> None:
    """:raises InvalidInput: it does not look like a bank type (P/4012076355), for example ``ICBC_DEBIT``."""
    if not isinstance(bank_type, str) or not _BANK_TYPE.fullmatch(bank_type) or len(bank_type) > 32:
        raise InvalidInput(
            f"bank_type {str(bank_type)[:40]!r} must look like ICBC_DEBIT: upper-case letters and digits, "
            "up to 32 characters"
        )


def check_content(content: bytes, filename: str) -> None:
    """:raises InvalidInput: it is empty, or has more than 5,500 rows or 2,000,000 bytes."""
    rows = content.count(b"\n") + (not content.endswith(b"\n") if content else 0)
    if not 1 <= rows <= MAX_ROWS or len(content) > MAX_BYTES:
        raise InvalidInput(
            f"{filename} has {rows} rows and {len(content)} bytes; a file has 1 to {MAX_ROWS} rows and at most "
            f"{MAX_BYTES} bytes"
        )
