# SPDX-License-Identifier: Apache-2.0
"""An export: numbers are checked, cut, encrypted and written. The manifest is written last of all."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from airflow_provider_wxbank.agreements.encryption import in_order
from airflow_provider_wxbank.agreements.files import AgreementFile, PlainFile, batches, plain_files
from airflow_provider_wxbank.agreements.manifest import (
    NAME,
    Manifest,
    Origin,
    origin_in,
    to_bytes,
)
from airflow_provider_wxbank.agreements.numbers import OnInvalid, Tally, Values, checked_numbers
from airflow_provider_wxbank.agreements.processes import EncryptionProcesses
from airflow_provider_wxbank.agreements.seal import identified, identity_of
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.reporting.events import Exported, FileExported, Observer, nobody
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, without_advice

log = logging.getLogger(__name__)


def export(
    source: Iterable[Values],
    folder: Location,
    *,
    bank_type: str,
    prefix: str,
    naming_key: bytes,
    encryption_key: Callable[[], PlatformKey],
    max_rows: int,
    on_invalid: OnInvalid,
    expected_rows: int | None = None,
    origin: Origin | None = None,
    tell: Observer = nobody,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Location, Manifest]:
    """Write the agreement files of some numbers, then the manifest that lists them.

    An earlier manifest in the folder is removed first, so that it never describes files of two exports. If anything
    fails, the files written so far are removed, and there is no manifest. The manifest of another task of the same DAG
    run is left there, and the export is refused: that list is still to be uploaded. That files can be written into the
    folder is tried with an empty one before anything is read.

    :param encryption_key: gives the platform key; asked once for each file.
    :param expected_rows: how many rows there must be, those that are skipped among them; None if nobody knows.
    :param origin: the task that exports; None on the command line.
    :param tell: hears of each file, and of the whole.
    :return: where the manifest is, and what it says.
    :raises InvalidInput: a value is not a number, there is no number at all, there are not as many rows as expected, or
        another task of the run exported into the folder, or files cannot be written there.
    :raises TryLater: the folder was not reached, or has no room.
    """
    # Before anything is read. It also tells a bucket that is missing, which deleting does not.
    folder.check_writable()
    target = folder.child(NAME)
    _check_is_not_of_another_task(target, origin)
    target.delete()
    tally = Tally()
    numbers = checked_numbers(source, on_invalid, tally)
    plain = plain_files(batches(numbers, encryption_key, max_rows), prefix, naming_key, bank_type)
    names: list[str] = []
    try:
        files = tuple(_write(plain, folder, names, tell))
        if not files:
            raise InvalidInput(
                f"there is no number to export ({number_of(tally.skipped, 'row was', 'rows were')} skipped); an empty "
                "list is taken for a mistake"
            )
        _check_rows(tally.rows, expected_rows)
        manifest = Manifest(bank_type, prefix, now().isoformat(), files, tally.positions, origin)
        content = to_bytes(manifest, naming_key)
        # Once more, for a task that has run at the same time. If one slips through, the manifest has another identity,
        # which the upload checks.
        _check_is_not_of_another_task(target, origin)
        target.write(content)
    except BaseException:  # Ctrl-C and Airflow's task timeout, too
        _remove(folder, names)
        raise
    manifest = replace(manifest, identity=identity_of(content))
    _tell(target, manifest, tell)
    return target, manifest


def _check_rows(rows: int, expected: int | None) -> None:
    if expected not in (None, rows):
        raise InvalidInput(
            f"the source has {number_of(rows, 'row')}, and expected_rows is {expected:,}: one of them is another "
            "day's, or not whole. Nothing was sent"
        )


def _write(plain: Iterable[PlainFile], folder: Location, names: list[str], tell: Observer) -> Iterator[AgreementFile]:
    """Encrypt files in processes and write them; yield each one that was written.

    :param names: gets the name of each file before work on it begins, so that a failure can remove it.
    """

    def write(file: PlainFile) -> AgreementFile:
        content = processes.encrypt_lines(file.key.public_key, file.numbers)
        folder.child(file.filename).write(content)
        return AgreementFile(
            file.filename,
            len(file.numbers),
            len(content),
            hashlib.sha256(content).hexdigest(),
            file.key.serial_no,
        )

    def noted() -> Iterator[PlainFile]:
        for file in plain:
            names.append(file.filename)
            yield file

    # The threads, which are entered last, end before the processes that they use.
    with EncryptionProcesses() as processes, closing(in_order(write, noted(), processes.threads)) as written:
        for file in written:
            tell(FileExported(file.filename, file.rows, file.bytes))
            yield file


def _tell(target: Location, manifest: Manifest, tell: Observer) -> None:
    if manifest.skipped_count:
        log.warning("%d invalid rows were skipped; their positions are in %s", manifest.skipped_count, target.uri)
    uri, size = identified(target.uri, manifest.identity), sum(file.bytes for file in manifest.files)
    tell(Exported(uri, len(manifest.files), manifest.rows, size, manifest.skipped_count))
    log.info(
        "Exported %d numbers into %d files; %d rows skipped; manifest: %s",
        manifest.rows,
        len(manifest.files),
        manifest.skipped_count,
        uri,
    )


def _check_is_not_of_another_task(target: Location, origin: Origin | None) -> None:
    if origin is None:
        return
    there = origin_in(target)
    if there is not None and there.is_other_task_of_run(origin):
        raise InvalidInput(
            f"{target.uri} is the manifest of {there}: replaced, it would bring this task's numbers into that one's "
            "package. Give each export an output_path of its own, for example ending in {{ run_id }}/{{ ti.task_id }}, "
            "and in {{ run_id }}/{{ ti.task_id }}/{{ ti.map_index }} if the task is mapped"
        )


def _remove(folder: Location, names: Iterable[str]) -> None:
    """Remove files. One that stays is ciphertext that no manifest lists, and must not hide why the export failed."""
    for name in names:
        try:
            folder.child(name).delete()
        except Exception as failure:
            log.warning("A file of the failed export stays: %s", without_advice(failure))
