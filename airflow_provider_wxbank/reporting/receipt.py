# SPDX-License-Identifier: Apache-2.0
"""The receipt of an import: which list went into which package, by whom, when, and what WeChat Pay said of it.

It is JSON, written once when a wait is over, and sealed as a manifest is. It holds no number, no key, and no personal
data but the name of the user who triggered the run. ``docs/receipt.schema.json`` describes each field.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from airflow_provider_wxbank.agreements.seal import BEGINNING, Seal, identity_of, is_authentic, sealed
from airflow_provider_wxbank.packages.counts import fail_ratio
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WrongReceipt

NAME = "receipt.json"
VERSION = 1
MAX_RECEIPT_BYTES = 64_000_000
"""A file takes about 600 bytes of it, so this is 100,000 files."""

BEGINNING_BYTES = 200

_KIND = "receipt"
_VERSION = re.compile(BEGINNING + rb'[0-9a-f]{64}",\n "receipt_version": (\d{1,3}),\n')


@dataclass(frozen=True, slots=True)
class Run:
    """The try of a task that waited.

    :param map_index: -1 for a task that is not mapped.
    :param run_type: ``manual``, ``scheduled`` and so on, as Airflow calls it; None if it does not tell.
    :param triggered_by: the user who triggered the run, as Airflow names them; None if nobody did, or if this Airflow
        does not tell its tasks (before 3.1).
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int | None
    run_type: str | None
    triggered_by: str | None

    @property
    def task(self) -> tuple[str, str, str, int]:
        """What is the same for all tries."""
        return self.dag_id, self.run_id, self.task_id, self.map_index

    def __str__(self) -> str:
        mapped = "" if self.map_index < 0 else f" (map index {self.map_index})"
        return f"task {self.task_id}{mapped} of run {self.run_id} of DAG {self.dag_id}"


@dataclass(frozen=True, slots=True)
class ExportSaid:
    """The export that an upload was of.

    :param manifest: URI of its manifest.
    :param identity: of the manifest; None if neither the upload nor the manifest told.
    :param problem: why the manifest could not be read when the receipt was written; then the rest is None.
    :param rows: numbers in all of its files.
    :param skipped: rows that it left out.
    """

    manifest: str
    identity: str | None
    problem: str | None = None
    created_at: str | None = None
    rows: int | None = None
    skipped: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A file and its upload task.

    :param rows: numbers in the file; None where only WeChat Pay's list tells of it.
    :param adopted: whether the upload found it in the package instead of sending it; None if no upload tells.
    :param sha256: of the file that was sent, lower-case hexadecimal, as its manifest has it; ``serial_no`` is the
        platform key that encrypted it. None without a manifest, and for an adopted file: its numbers are these, and
        which bytes WeChat Pay was sent, only the upload that sent them knew.
    :param exports: identities of the manifests that list it.
    :param create_time: as WeChat Pay gave it, RFC 3339; ``update_time`` likewise.
    :param success_count: as WeChat Pay gave it; None where it left it out.
    """

    filename: str
    task_id: str
    bank_type: str | None
    rows: int | None
    adopted: bool | None
    sha256: str | None
    serial_no: str | None
    exports: tuple[str, ...]
    create_time: str | None
    update_time: str | None
    success_count: int | None
    fail_count: int | None
    success_user_count: int | None

    @property
    def unaccounted(self) -> int | None:
        """By how many numbers WeChat Pay's counts differ from the rows; None if the rows are not known."""
        return None if self.rows is None else abs(self.rows - (self.success_count or 0) - (self.fail_count or 0))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a wait found out.

    :param mchid: the merchant.
    :param waited_for: what named the tasks: ``upload``, ``task_ids``, ``filenames``, or ``package`` for all of it.
    :param max_fail_ratio: the share of numbers that may not match, 0 to 1; None for any.
    :param written_at: RFC 3339, UTC.
    :param provider_version: of this package.
    :param identity: the first 16 hexadecimal digits of its digest; empty before it is written.
    """

    mchid: str
    package_id: str
    waited_for: str
    run: Run
    exports: tuple[ExportSaid, ...]
    files: tuple[ReceiptFile, ...]
    max_fail_ratio: float | None
    written_at: str
    provider_version: str
    identity: str = field(default="", compare=False)

    def sums(self) -> dict[str, Any]:
        """The sums over all files, and whether they agree; ``rows`` and ``unaccounted`` are None if none is known."""
        rows = [file.rows for file in self.files if file.rows is not None]
        unaccounted = [file.unaccounted for file in self.files if file.unaccounted is not None]
        return {
            "files": len(self.files),
            "rows": sum(rows) if rows else None,
            "success_count": _sum(file.success_count for file in self.files),
            "fail_count": _sum(file.fail_count for file in self.files),
            "success_user_count": _sum(file.success_user_count for file in self.files),
            "unaccounted": sum(unaccounted) if unaccounted else None,
            "agree": self.agree,
        }

    @property
    def agree(self) -> bool | None:
        """Whether every row of every file is accounted for, and all rows of each export are in these files.

        None if nothing disagrees, but the rows of some files or of an export are not known.
        """
        rows: Counter[str] = Counter()
        # Of these some rows are not known, so that their sums are not, either.
        unknown = {identity for file in self.files if file.rows is None for identity in file.exports}
        for file in self.files:
            for identity in file.exports:
                rows[identity] += file.rows or 0
        agree = [file.unaccounted == 0 if file.rows is not None else None for file in self.files]
        for export in self.exports:
            is_known = export.rows is not None and export.identity not in unknown
            agree.append(rows[export.identity or ""] == export.rows if is_known else None)
        return False if False in agree else None if None in agree else True

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to ask: all agrees, is known, and was accepted."""
        return self.agree is True and self.is_accepted

    @property
    def is_accepted(self) -> bool:
        """Whether no more numbers than ``max_fail_ratio`` allows did not match."""
        return self.max_fail_ratio is None or self.fail_ratio <= self.max_fail_ratio

    @property
    def fail_ratio(self) -> float:
        """Share of the numbers that did not match, 0 to 1."""
        return fail_ratio(_sum(file.success_count for file in self.files), _sum(file.fail_count for file in self.files))

    def says_the_same_as(self, other: Receipt) -> bool:
        """Whether another try of the same task found out the same."""
        return self._findings() == other._findings()

    def _findings(self) -> tuple[Any, ...]:
        # Not which try it was and when; and a manifest may have been removed since.
        files = {
            (one.filename, one.task_id, one.rows, one.success_count, one.fail_count, one.success_user_count)
            for one in self.files
        }
        return self.mchid, self.package_id, self.waited_for, self.run.task, self.max_fail_ratio, files


def _sum(counts: Iterable[int | None]) -> int:
    # WeChat Pay may leave a count out.
    return sum(one or 0 for one in counts)


def to_bytes(receipt: Receipt, naming_key: bytes) -> bytes:
    """The receipt as JSON with its seal.

    :param naming_key: see :func:`~airflow_provider_wxbank.agreements.files.naming_key`.
    """
    content = {
        "written_at": receipt.written_at,
        "provider_version": receipt.provider_version,
        "mchid": receipt.mchid,
        "package_id": receipt.package_id,
        "waited_for": receipt.waited_for,
        "run": asdict(receipt.run),
        "sums": receipt.sums(),
        "verdict": _verdict(receipt),
        "exports": [asdict(one) for one in receipt.exports],
        "files": [{**asdict(one), "unaccounted": one.unaccounted} for one in receipt.files],
    }
    rest = f'",\n "receipt_version": {VERSION},{json.dumps(content, indent=1)[1:]}\n'
    return sealed(_KIND, rest.encode(), naming_key)


def _verdict(receipt: Receipt) -> dict[str, Any]:
    return {
        "max_fail_ratio": receipt.max_fail_ratio,
        "fail_ratio": receipt.fail_ratio,
        "is_accepted": receipt.is_accepted,
    }


def read_receipt(content: bytes, where: str, seal: Seal) -> Receipt:
    """The receipt in a file that this package wrote.

    :param where: its URI, for messages.
    :param seal: of the connection.
    :raises WrongReceipt: it is none, or was altered, or is another merchant's.
    :raises InvalidInput: a newer version of this package wrote it.
    """
    if not content.startswith(BEGINNING):
        raise WrongReceipt(f"{where} is no receipt, or its beginning is missing")
    if not is_authentic(_KIND, content, seal.key):
        raise WrongReceipt(
            f"{where} was truncated or altered after it was written, or belongs to another connection. If the "
            "merchant's key was renewed since, and the connection had no naming_secret then, only a connection with "
            "the former key can verify it"
        )
    version = _VERSION.match(content)
    if version is None or int(version[1]) != VERSION:
        raise InvalidInput(f"{where} was written by a newer version of this package, which can read it")
    try:
        value = json.loads(content)
        read = Receipt(
            **{name: value[name] for name in ("mchid", "package_id", "waited_for", "written_at", "provider_version")},
            run=Run(**value["run"]),
            exports=tuple(ExportSaid(**one) for one in value["exports"]),
            files=tuple(_file(one) for one in value["files"]),
            max_fail_ratio=value["verdict"]["max_fail_ratio"],
            identity=identity_of(content),
        )
        if value["sums"] != read.sums() or value["verdict"] != _verdict(read):
            raise WrongReceipt(f"{where} states sums that are not those of its files", "sums")
        # Merchants may share a naming_secret.
        if read.mchid != seal.mchid:
            raise WrongReceipt(
                f"{where} is a receipt of merchant {read.mchid}, and the connection's is {seal.mchid}", "other_merchant"
            )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as failure:
        if isinstance(failure, WrongReceipt):
            raise
        raise WrongReceipt(f"{where} lacks something: {type(failure).__name__}") from None
    return read


def may_be_receipt(beginning: bytes) -> bool:
    """Whether a file begins as a receipt does; whether it is one, only :func:`read_receipt` tells.

    :param beginning: its first :data:`BEGINNING_BYTES`.
    """
    return _VERSION.match(beginning) is not None


def _file(value: dict[str, Any]) -> ReceiptFile:
    named = {one.name: value[one.name] for one in fields(ReceiptFile)}
    return ReceiptFile(**{**named, "exports": tuple(value["exports"])})
