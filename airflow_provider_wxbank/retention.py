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
from airflow_provider_wxbank.agreements.private import LocalDisk, SftpDisk, is_sftp
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.agreements.storage_errors import telling
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.reporting.receipt import (
    BEGINNING_BYTES,
    MAX_RECEIPT_BYTES,
    may_be_receipt,
    read_receipt,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

MIN_AGE = timedelta(hours=1)
"""The least age at which an export may be called too old: before, somebody may be about to upload it."""

_UNITS = {"d": "days", "h": "hours"}
_AGE = re.compile(r"(\d{1,5})([dh])")

Outcome = Literal["removed", "kept", "left"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundExport:
    """An export that was found, and what became of it.

    :param outcome: ``removed``; ``kept``, because it may still be needed; or ``left``, because it is no export of this
        connection.
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
    naming_key: bytes,
    *,
    older_than: timedelta | None = None,
    receipts: str | None = None,
    dry_run: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[FoundExport]:
    """Remove the exports in a place that are not needed any more; each is yielded when it is done.

    :param output_path: a folder; exports in folders of it are found, too. Links are not followed.
    :param naming_key: see :func:`~airflow_provider_wxbank.agreements.files.naming_key`.
    :param older_than: remove also exports that no receipt calls finished, if they are older.
    :param receipts: a folder with receipts beside those that are in ``output_path``.
    :param dry_run: only say what would be removed.
    :raises InvalidInput: a place does not exist, or may not be read.
    :raises TryLater: a place was not reached.
    """
    root = location(output_path, "output_path")
    paths = _files_in(root)
    elsewhere = None if receipts is None else location(receipts, "receipts")
    finished = _finished(_receipts_in(root, paths), naming_key)
    if elsewhere is not None:
        for identity, names in _finished(_receipts_in(elsewhere, _files_in(elsewhere)), naming_key).items():
            finished[identity] |= names
    for path in sorted(paths):
        if path.rpartition("/")[2] != NAME:
            continue
        manifest = _child(root, path)
        try:
            export = read_manifest(manifest, naming_key)
        except InvalidInput as failure:
            yield FoundExport(manifest.uri, "left", str(failure))
            continue
        there = [file for file in export.files if manifest.parent.child(file.filename).path in paths]
        outcome, why = _judged(export, finished, older_than, now())
        if outcome == "removed" and not dry_run:
            _remove(root, manifest, [file.filename for file in there])
        size = sum(file.bytes for file in there)
        yield FoundExport(manifest.uri, outcome, why, export.created_at, len(there), export.rows, size)


def _files_in(folder: Location) -> AbstractSet[str]:
    """The paths of all files below a folder; in an object store there may be none yet, or none any more."""
    filesystem = folder.filesystem
    with telling(folder.uri, "listed"):
        filesystem.invalidate_cache()
        if _is_on_disk(folder):
            return set(real_files(filesystem, Entry(folder.path.rstrip("/"), is_folder=True)))
        return set(filesystem.find(folder.path))


def _is_on_disk(where: Location) -> bool:
    return where.is_local or is_sftp(where.filesystem)


def _child(folder: Location, path: str) -> Location:
    return folder.child(path.removeprefix(f"{folder.path.rstrip('/')}/"))


def _receipts_in(folder: Location, paths: Iterable[str]) -> Iterator[Location]:
    for path in sorted(paths):
        name = path.rpartition("/")[2]
        if name.lower().endswith(".json") and name != NAME:
            where = _child(folder, path)
            if may_be_receipt(where.beginning(BEGINNING_BYTES)):
                yield where


def _finished(receipts: Iterable[Location], naming_key: bytes) -> defaultdict[str, set[str]]:
    """Identity of a manifest to the files of it that receipts call finished."""
    finished: defaultdict[str, set[str]] = defaultdict(set)
    for where in receipts:
        try:
            receipt = read_receipt(where.read(MAX_RECEIPT_BYTES), where.uri, naming_key)
        except InvalidInput as failure:
            log.warning("Not taken as a receipt: %s", failure)
            continue
        # Where something is not accounted for, the files may still have to be shown.
        if receipt.agree is False:
            continue
        for file in receipt.files:
            if file.export is not None:
                finished[file.export].add(file.filename)
    return finished


def _judged(
    export: Manifest, finished: Mapping[str, AbstractSet[str]], older_than: timedelta | None, now: datetime
) -> tuple[Outcome, str]:
    names = {file.filename for file in export.files}
    if names <= finished.get(export.identity, set()):
        return "removed", "a receipt says that all its files are finished"
    age = now - datetime.fromisoformat(export.created_at)
    if older_than is not None and age > older_than:
        return "removed", f"it is {_days(age)} old, and no receipt says that it is finished"
    return "kept", f"no receipt says that it is finished; it is {_days(age)} old"


def _days(age: timedelta) -> str:
    return f"{age.days} d {age.seconds // 3600} h"


def _remove(root: Location, manifest: Location, filenames: Sequence[str]) -> None:
    folder = manifest.parent
    for name in filenames:
        folder.child(name).delete()
    # Last: as long as it is there, the next removal knows what belongs to the export.
    manifest.delete()
    # A folder of a bucket is no more than the names of what is in it.
    if not _is_on_disk(root):
        return
    disk = LocalDisk() if root.is_local else SftpDisk(root.filesystem)
    with contextlib.suppress(Exception):  # something else is in it
        while folder.path.startswith(f"{root.path.rstrip('/')}/"):
            disk.remove_folder(folder.path)
            folder = folder.parent


def summed(found: Iterable[FoundExport]) -> dict[str, int]:
    """How many exports had which outcome, and the files and bytes of those that were removed."""
    exports = list(found)
    removed = [one for one in exports if one.outcome == "removed"]
    counts = {outcome: sum(one.outcome == outcome for one in exports) for outcome in ("removed", "kept", "left")}
    return {**counts, "files": sum(one.files for one in removed), "bytes": sum(one.bytes for one in removed)}
