# SPDX-License-Identifier: Apache-2.0
"""A row of the table, and what goes into it: what is there after kills, against what must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.agreements import manifest as manifests
from airflow_provider_wxbank.agreements.files import naming_key
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.harness.bank import Bank
from tests.stress.crash_runs import Ended, Runs, upload
from tests.stress.crash_watch import Watch


@dataclass(slots=True)
class Row:
    """A row of the table.

    :param runs: processes that were started for it.
    :param twice: files sent twice in full although they were not in flight at a kill.
    :param half: manifests that were believed and were not whole.
    :param wrong: what ended otherwise than it must.
    :param again: files sent again because they were in flight at a kill, which nobody can avoid.
    """

    what: str
    kills: int = 0
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    twice: int = 0
    half: int = 0
    hung: int = 0
    wrong: int = 0
    again: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_bad(self) -> bool:
        """Whether something happened that must not."""
        return bool(self.lost or self.doubled or self.twice or self.half or self.hung or self.wrong)

    def add_wrong(self, note: str) -> None:
        """Count what ended otherwise than it must."""
        self.wrong += 1
        self.notes.append(note)


def note_end(row: Row, what: str, ended: Ended) -> None:
    """Count how a run ended that was not to be killed."""
    if ended[0] == "hung":
        row.hung += 1
    elif ended[0] != "done":
        row.add_wrong(f"{what} {ended[0]}: {ended[1]}")


def check_result(row: Row, watch: Watch, package_id: str, result: Mapping[str, Any]) -> None:
    """See that the result of an upload is what the package has."""
    told = {(task["task_id"], task["filename"], task["rows"]) for task in result["tasks"]}
    has = watch.simulator.app.ledger.packages.get(package_id, {}).values()
    if told != {(task.task_id, task.meta.filename, task.rows) for task in has}:
        row.add_wrong(f"the upload into {package_id} told other tasks than the package has")


def check_package(row: Row, watch: Watch, package_id: str, bank: Bank) -> None:
    """Count what a package lacks, or has or was sent more than once."""
    package = watch.simulator.report()["packages"].get(package_id)
    if package is None:
        row.lost += len(bank.numbers)
        return
    lost = len(bank.numbers) - package["distinct_numbers"]
    is_equal = package["numbers_digest"] == numbers_digest(bank.numbers)
    row.lost += max(lost, 0 if is_equal else 1)
    row.doubled += package["repeated_numbers"]
    names = Counter(task["filename"] for task in package["tasks"])
    row.doubled += sum(names.values()) - len(names)
    again, twice = watch.sent_again(package_id)
    row.again += again
    row.twice += twice


def merchant_key(simulator: Simulator) -> bytes:
    """The key of the filenames and manifests of a simulator's merchant."""
    told = simulator.airflow_connection()
    settings = read_settings(told["login"], told["password"], told["host"], told["extra"])
    return naming_key(settings.merchant.signer, settings.naming_secret)


def manifest_state(folder: Path, key: bytes, rows: int) -> str:
    """``none``, ``whole``; ``half`` if it is believed but what it lists is not there; ``torn`` if it is no manifest."""
    from airflow_provider_wxbank.parameters import location

    where = location(str(folder / manifests.NAME), "manifest")
    try:
        manifest = manifests.read_manifest(where, key)
    except InvalidInput:
        return "torn" if where.exists() else "none"
    try:
        for file in manifest.files:
            manifests.read_file(where.parent, file)
    except InvalidInput:
        # The next try may have begun meanwhile.
        return "half" if where.exists() else "none"
    return "whole" if manifest.rows == rows else "half"


def check_killed_export(row: Row, folder: Path, key: bytes, rows: int) -> None:
    """See what a killed export left; a whole manifest means that it was killed after it was done."""
    state = manifest_state(folder, key, rows)
    row.half += state == "half"
    if state == "torn":
        row.add_wrong(f"a killed export left a torn manifest in {folder.name}")


def import_export(row: Row, runs: Runs, watch: Watch, bank: Bank, folder: Path, package_id: str) -> None:
    """Import an export that has ended, and compare."""
    if manifest_state(folder, merchant_key(watch.simulator), len(bank.numbers)) != "whole":
        row.add_wrong(f"{folder.name} ended and is not complete")
        return
    ended = runs.run("UploadTaskOperator", upload(folder, package_id))
    note_end(row, f"import of {folder.name}", ended)
    check_package(row, watch, package_id, bank)
