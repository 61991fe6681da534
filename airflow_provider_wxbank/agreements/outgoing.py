# SPDX-License-Identifier: Apache-2.0
"""What is uploaded: the files of an export, or the files that a single file becomes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest

from airflow_provider_wxbank.agreements.files import (
    MAX_BYTES,
    MAX_ROWS,
    PlainFile,
    batches,
    content_of,
    may_fit,
    named,
    plain_files,
)
from airflow_provider_wxbank.agreements.lines import check_encrypted
from airflow_provider_wxbank.agreements.manifest import read_file, read_manifest
from airflow_provider_wxbank.agreements.numbers import Tally, checked_numbers
from airflow_provider_wxbank.agreements.seal import identified
from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.crypto.suites import Suite
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """An agreement file to upload.

    :param read: gives the content; called once, by the thread that uploads.
    """

    filename: str
    rows: int
    bank_type: str
    serial_no: str
    read: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Files to upload, all of which were checked.

    :param filenames: in their order.
    :param rows: numbers in all of them.
    :param files: made one by one while they are iterated over, which can be done once.
    :param manifest: URI of the manifest with its identity, if there is one.
    """

    bank_type: str
    filenames: Sequence[str]
    rows: int
    files: Iterable[OutgoingFile]
    manifest: str | None = None


def check_same_files(filenames: Collection[str], known: Collection[str], package_id: str) -> None:
    """Check that what is uploaded now includes every file that earlier tries of the task have uploaded.

    :param known: names of the files that earlier tries uploaded.
    :raises InvalidInput: it does not: the list was changed between the tries.
    """
    if gone := sorted(set(known).difference(filenames)):
        raise InvalidInput(
            f"the list was changed since an earlier try of this task: {len(gone)} of the files that it uploaded, "
            f"{gone[0]} for one, are not in the list any more. Their numbers are in package {package_id} and stay "
            "there, and others of the new list would be imported with them. Put the list back as it was and run the "
            "task again; a new list is for a new DAG run"
        )


def of_manifest(
    where: Location,
    identity: str | None,
    naming_key: bytes,
    bank_type: str | None,
    known: Collection[str],
    workers: int,
) -> Outgoing:
    """The files of an export.

    :param identity: which manifest it must be; None for whichever is there.
    :param bank_type: what it must be; None for the manifest's own.
    :param known: names of files that need not be read, since they were uploaded before.
    :param workers: files that are read at a time.
    :raises InvalidInput: the manifest or one of the files is missing, was changed or replaced, or it is for another
        bank type.
    """
    manifest = read_manifest(where, naming_key, identity)
    if bank_type not in (None, manifest.bank_type):
        raise InvalidInput(f"{where.uri} is for bank_type {manifest.bank_type}, not {bank_type}")
    # All are checked before the first is sent, since nothing can be taken out of a package again.
    with ThreadPoolExecutor(workers, thread_name_prefix="wxbank-check") as pool:
        missing = [file for file in manifest.files if file.filename not in known]
        for _ in pool.map(lambda file: len(read_file(where.parent, file)), missing):
            pass
    # Each is read and checked once more when it is uploaded, so that no more of them are in memory than are under way.
    files = (
        OutgoingFile(
            file.filename,
            file.rows,
            manifest.bank_type,
            file.serial_no,
            lambda file=file: read_file(where.parent, file),  # type: ignore[misc]  # mypy infers no default of a lambda
        )
        for file in manifest.files
    )
    uri = identified(where.uri, manifest.identity)
    names = [file.filename for file in manifest.files]
    return Outgoing(manifest.bank_type, names, manifest.rows, files, uri)


def of_encrypted_file(
    where: Location, naming_key: bytes, prefix: str, bank_type: str, serial_no: str, suite: Suite
) -> Outgoing:
    """One file of encrypted lines, byte for byte.

    :param serial_no: of the platform key that encrypted them.
    :param suite: the merchant's, to which that key belongs.
    :raises InvalidInput: it is missing, or its lines are not encrypted.
    """
    content = where.read(MAX_BYTES)
    rows = check_encrypted(content, where.uri, suite)
    filename = named(prefix, naming_key, bank_type, content)
    file = OutgoingFile(filename, rows, bank_type, serial_no, lambda: content)
    return Outgoing(bank_type, [filename], rows, [file])


def of_plain_file(
    where: Location, naming_key: bytes, prefix: str, bank_type: str, encryption_key: Callable[[], PlatformKey]
) -> Outgoing:
    """A text file with one plain number a line, encrypted and cut in memory.

    :param encryption_key: gives the platform key; asked once for each file.
    :raises InvalidInput: it is missing, has no number, or has a line that is not a number.
    :raises TryLater: it was changed meanwhile.
    """

    if where.is_pattern():
        raise InvalidInput(
            f"{where.uri} does not exist, and file is one file: for many give ExportUsersOperator the pattern as source"
        )

    def numbers() -> Iterator[Sequence[str]]:
        return checked_numbers(read_files(where, None, Dialect()), "fail", Tally())

    def sizes_of(parts: Iterable[Sequence[str]]) -> dict[str, tuple[int, int]]:
        """Rows and longest number of each file, by its name."""
        return {
            named(prefix, naming_key, bank_type, content_of(part)): (len(part), max(map(len, part))) for part in parts
        }

    # The file is read twice: every row is checked before a key is asked for and the first part is sent.
    stream = chain.from_iterable(numbers())
    files = sizes_of(iter(lambda: list(islice(stream, MAX_ROWS)), []))
    if not files:
        raise InvalidInput(f"{where.uri} has no number in it")
    key = encryption_key()
    # Where lines are longer, fewer of them fit into a file.
    if not all(may_fit(key.public_key, rows, longest) for rows, longest in files.values()):
        files = sizes_of(part for _, part in batches(numbers(), lambda: key, MAX_ROWS))
    names = list(files)
    plain = plain_files(batches(numbers(), encryption_key, MAX_ROWS), prefix, naming_key, bank_type)
    outgoing = (
        OutgoingFile(file.filename, len(file.numbers), bank_type, file.key.serial_no, file.encrypted)
        for file in _as_checked(plain, names, where)
    )
    return Outgoing(bank_type, names, sum(rows for rows, _ in files.values()), outgoing)


def _as_checked(files: Iterator[PlainFile], names: Sequence[str], where: Location) -> Iterator[PlainFile]:
    """The files of the second reading, as long as they are those of the first. Their names are digests of the numbers.

    :raises TryLater: they are not.
    """
    changed = TryLater(f"{where.uri} was changed while it was uploaded: run it again, once it is written whole")
    try:
        for file, name in zip_longest(files, names):
            if file is None or file.filename != name:
                raise changed
            yield file
    except (InvalidInput, TryLater):
        # A row that is invalid now was valid before, so the file was changed. If the change itself was seen, its
        # message says that nothing was sent, which is true of exports only.
        raise changed from None
