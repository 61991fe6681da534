# SPDX-License-Identifier: Apache-2.0
"""Removes exports that are not needed any more, and nothing else: not a receipt, and no file of somebody else.

An export is what a manifest with our seal lists. It is not needed any more if a receipt says that WeChat Pay has
processed all its files and that the sums agree, or if it is so old that nobody will upload it. Its files are removed
first and its manifest last, so that a removal that was interrupted goes on with the next one.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from airflow_provider_wxbank.agreements.folders import Entry, real_files
from airflow_provider_wxbank.agreements.manifest import NAME, Manifest, read_manifest
from airflow_provider_wxbank.agreements.private import disk_of
from airflow_provider_wxbank.agreements.seal import BEGINNING, IDENTITY_DIGITS, Seal
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.agreements.storage_errors import telling
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.reporting.receipt import (
    BEGINNING_BYTES,
    MAX_RECEIPT_BYTES,
    Receipt,
    may_be_receipt,
    read_receipt,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater, WxBankError

MIN_AGE = timedelta(hours=1)
"""The least age at which an export may be called too old: before, somebody may be about to upload it."""

_UNITS = {"d": "days", "h": "hours"}
_AGE = re.compile(r"([0-9]{1,5})([dh])")

Outcome = Literal["removed", "kept", "left", "failed"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundExport:
    """An export that was found, and what became of it.

    :param outcome: ``removed``; ``kept``, because it may still be needed; ``left``, because it is no export of this
        connection; or ``failed``, because it could not be read or removed.
    :param why: the reason.
    :param files: files of it that were there, with ``bytes`` as its manifest has them.
    """

    manifest: str
    outcome: Outcome
    why: str
    created_at: str | None = None
    files: int = 0
    rows: int = 0
    bytes: int = 0


def age_of(value: object) -> timedelta | None:
    """What a user wrote for an age: ``7d``, ``12h``, or a timedelta; None for None.

    :raises InvalidInput: it is none of these, or less than an hour.
    """
    if value is None:
        return None
    match = _AGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        value = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not isinstance(value, timedelta):
        raise InvalidInput(f"older_than {str(value)[:40]!r} must be an age such as 7d or 12h: days or hours")
    if value < MIN_AGE:
        raise InvalidInput("older_than must be at least 1h: a younger export may be about to be uploaded")
    return value


def clean(
    output_path: str,
    seal: Seal,
    *,
    older_than: timedelta | None = None,
    receipts: str | None = None,
    dry_run: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[FoundExport]:
    """Remove the exports in a place that are not needed any more; each is yielded when it is done.

    One that cannot be removed keeps no other from being removed: it is told at the end.

    :param output_path: a folder; exports in folders of it are found, too. Links are not followed.
    :param seal: of the connection.
    :param older_than: remove also exports that no receipt calls finished, if they are older.
    :param receipts: a folder with receipts beside those that are in ``output_path``.
    :param dry_run: only say what would be removed.
    :raises InvalidInput: a place is no folder, or may not be read; or, at the end, an export could not be removed.
    :raises TryLater: a place was not reached; or, at the end, an export could not be removed, which may pass.
    """
    root = location(output_path, "output_path")
    paths = _files_in(root)
    elsewhere = None if receipts is None else location(receipts, "receipts")
    finished = _finished(root, paths, seal)
    if elsewhere is not None:
        for identity, names in _finished(elsewhere, _files_in(elsewhere), seal).items():
            finished[identity] |= names
    failures: list[WxBankError] = []
    for path in sorted(paths):
        if path.rpartition("/")[2] != NAME:
            continue
        manifest = _child(root, path)
        try:
            yield _cleaned(root, manifest, paths, seal, finished, older_than, now, dry_run=dry_run)
        except WxBankError as failure:
            failures.append(failure)
            yield FoundExport(manifest.uri, "failed", str(failure))
    if failures:
        # What may pass is worth a retry, which finds the rest done.
        may_pass = not all(isinstance(failure, InvalidInput) for failure in failures)
        raise (TryLater if may_pass else InvalidInput)(
            f"{number_of(len(failures), 'export')} below {root.uri} could not be removed; all others were looked at. "
            f"The first: {failures[0]}"
        )


def _cleaned(
    root: Location,
    manifest: Location,
    paths: AbstractSet[str],
    seal: Seal,
    finished: Mapping[str, AbstractSet[str]],
    older_than: timedelta | None,
    now: Callable[[], datetime],
    *,
    dry_run: bool,
) -> FoundExport:
    """What becomes of an export, once that is done.

    :raises WxBankError: it could not be read or removed.
    """
    try:
        # Before it is read: what changes afterwards is another export.
        mark = _mark(manifest)
        export = read_manifest(manifest, seal.key)
    except InvalidInput as failure:
        return FoundExport(manifest.uri, "left", str(failure))
    there = [file for file in export.files if manifest.parent.child(file.filename).path in paths]
    outcome, why = _judged(export, manifest, finished, older_than, now())
    if outcome == "removed" and not dry_run and not _remove(root, manifest, mark, [file.filename for file in there]):
        outcome, why = "kept", "another export into this folder began meanwhile"
    size = sum(file.bytes for file in there)
    return FoundExport(manifest.uri, outcome, why, export.created_at, len(there), export.rows, size)


def _files_in(folder: Location) -> AbstractSet[str]:
    """The paths of all files below a folder; in an object store there may be none yet, or none any more.

    :raises InvalidInput: it is a file.
    """
    filesystem = folder.filesystem
    with telling(folder.uri, "listed"):
        filesystem.invalidate_cache()
        if filesystem.isfile(folder.path):
            raise InvalidInput(f"{folder.uri} is a file: give the folder that it is in, or a folder of such folders")
        if disk_of(filesystem, is_local=folder.is_local) is not None:
            return set(real_files(filesystem, Entry(folder.path.rstrip("/"), is_folder=True)))
        return set(filesystem.find(folder.path))


def _child(folder: Location, path: str) -> Location:
    return folder.child(path.removeprefix(f"{folder.path.rstrip('/')}/"))


def _receipts_in(folder: Location, paths: Iterable[str], seal: Seal) -> Iterator[Receipt]:
    for path in sorted(paths):
        name = path.rpartition("/")[2]
        if not name.lower().endswith(".json") or name == NAME:
            continue
        where = _child(folder, path)
        try:
            if may_be_receipt(where.beginning(BEGINNING_BYTES)):
                yield read_receipt(where.read(MAX_RECEIPT_BYTES), where.uri, seal)
        except InvalidInput as failure:
            # Whatever else is there, and whoever may read it.
            log.warning("Not taken as a receipt: %s", failure)


def _finished(folder: Location, paths: Iterable[str], seal: Seal) -> defaultdict[str, set[str]]:
    """Identity of a manifest to the files of it that receipts in a folder call finished."""
    finished: defaultdict[str, set[str]] = defaultdict(set)
    for receipt in _receipts_in(folder, paths, seal):
        # Where something is not accounted for, or was not accepted, the files may still have to be shown.
        if not receipt.is_settled:
            continue
        for file in receipt.files:
            for identity in file.exports:
                finished[identity].add(file.filename)
    return finished


def _judged(
    export: Manifest,
    where: Location,
    finished: Mapping[str, AbstractSet[str]],
    older_than: timedelta | None,
    now: datetime,
) -> tuple[Outcome, str]:
    names = {file.filename for file in export.files}
    if names <= finished.get(export.identity, set()):
        return "removed", "a receipt says that all its files are finished"
    age = now - datetime.fromisoformat(export.created_at)
    if older_than is not None and age > older_than:
        # The clock of the worker that exported may have been wrong.
        written = _written(where)
        if written is not None and now - written <= older_than:
            return "kept", f"it says that it is {_days(age)} old, and was written {_days(now - written)} ago"
        return "removed", f"it is {_days(age)} old, and no receipt says that it is finished"
    return "kept", f"no receipt says that it is finished; it is {_days(age)} old"


def _written(where: Location) -> datetime | None:
    """When a file was written, by the clock of its place; None if it is gone, or nobody tells."""
    with telling(where.uri, "read"), contextlib.suppress(FileNotFoundError, NotImplementedError):
        found = where.filesystem.modified(where.path)
        if isinstance(found, datetime):
            return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _days(age: timedelta) -> str:
    return f"{age.days} d {age.seconds // 3600} h"


def _mark(manifest: Location) -> object:
    """What another manifest in this place does not have, at little cost."""
    if disk_of(manifest.filesystem, is_local=manifest.is_local) is None:
        return manifest.state()
    # Over SFTP times are in seconds. An object store would send more than is asked for.
    return manifest.beginning(len(BEGINNING) + IDENTITY_DIGITS)


def _remove(root: Location, manifest: Location, mark: object, filenames: Sequence[str]) -> bool:
    """Remove an export, its manifest last: as long as it is there, the next removal knows what belongs to the export.

    :param mark: of the manifest, when it was read.
    :return: whether it was removed. Another export into the folder removes the manifest first of all: then the files
        that are there may be its, of the same names.
    """
    folder = manifest.parent
    for where in (*map(folder.child, filenames), manifest):
        if _mark(manifest) != mark:
            return False
        where.delete()
    # A folder of a bucket is no more than the names of what is in it.
    disk = disk_of(root.filesystem, is_local=root.is_local)
    if disk is None:
        return True
    with contextlib.suppress(Exception):  # something else is in it
        while folder.path.startswith(f"{root.path.rstrip('/')}/"):
            disk.remove_folder(folder.path)
            folder = folder.parent
    return True


def summed(found: Iterable[FoundExport]) -> dict[str, int]:
    """How many exports had which outcome, and the files and bytes of those that were removed."""
    exports = list(found)
    removed = [one for one in exports if one.outcome == "removed"]
    counts = {outcome: sum(one.outcome == outcome for one in exports) for outcome in ("removed", "kept", "left")}
    return {**counts, "files": sum(one.files for one in removed), "bytes": sum(one.bytes for one in removed)}
