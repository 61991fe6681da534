"""An export: numbers are checked, cut, encrypted and written, and last of all the manifest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from airflow_provider_wxbank.agreements.encryption import in_order
from airflow_provider_wxbank.agreements.files import AgreementFile, PlainFile, batches, plain_files
from airflow_provider_wxbank.agreements.manifest import (
    NAME,
    Manifest,
    Origin,
    identity_of,
    origin_in,
    to_bytes,
)
from airflow_provider_wxbank.agreements.numbers import OnInvalid, Skipped, Values, checked_numbers
from airflow_provider_wxbank.agreements.processes import EncryptionProcesses
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.keys import PlatformKey

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
    origin: Origin | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Location, Manifest]:
    """Write the agreement files of some numbers, then the manifest that lists them.

    An earlier manifest in the folder is withdrawn first, so that it never describes files of two exports; if anything
    fails, the files written so far are removed, and there is no manifest. The manifest of another task of the same DAG
    run is left, and the export refused: nobody has had the time to upload it.

    :param encryption_key: gives the platform key; asked once a file.
    :param origin: the task that exports; None on the command line.
    :return: where the manifest is, and what it says.
    :raises InvalidInput: a value is no number, there is none at all, or another task of the run exported into the
        folder.
    """
    target = folder.child(NAME)
    _check_is_not_of_another_task(target, origin)
    target.delete()
    skipped = Skipped()
    numbers = checked_numbers(source, on_invalid, skipped)
    plain = plain_files(batches(numbers, encryption_key, max_rows), prefix, naming_key, bank_type)
    written: list[AgreementFile] = []
    names: list[str] = []

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

    try:
        with (
            EncryptionProcesses() as processes,
            closing(in_order(write, _noting(plain, names), processes.threads)) as files,
        ):
            written.extend(files)
        if not written:
            raise InvalidInput(
                f"there is no number to export ({skipped.count} rows were skipped); an empty list is taken for a "
                "mistake"
            )
        manifest = Manifest(bank_type, prefix, now().isoformat(), tuple(written), skipped.positions, origin)
        content = to_bytes(manifest, naming_key)
        # Once more, for tasks that run at the same time.
        _check_is_not_of_another_task(target, origin)
        target.write(content)
    except BaseException:
        _remove(folder, names)
        raise
    if skipped.count:
        log.warning("%d invalid rows were skipped; their positions are in %s", skipped.count, target.uri)
    return target, replace(manifest, identity=identity_of(content))


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
    """Remove files; one that stays is ciphertext that no manifest lists, and must not hide why the export failed."""
    for name in names:
        file = folder.child(name)
        try:
            file.delete()
        except Exception as failure:
            log.warning("%s could not be removed: %s", file.uri, failure)


def _noting(files: Iterable[PlainFile], names: list[str]) -> Iterable[PlainFile]:
    """The files, with the name of each noted before it is worked on, so that a failure can remove it."""
    for file in files:
        names.append(file.filename)
        yield file
