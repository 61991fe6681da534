# SPDX-License-Identifier: Apache-2.0
"""Waits that are killed while they end, and what their receipts say of imports that were killed before."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.agreements.seal import Seal
from airflow_provider_wxbank.reporting.receipt import read_receipt
from airflow_provider_wxbank.wechatpay.errors import WxBankError
from tests.stress.crash_checks import Row, merchant_key, note_end
from tests.stress.crash_runs import Ended, Runs
from tests.stress.crash_watch import Moment, Watch

MAX_SECONDS = 0.6
"""Of a wait that is killed, at most: it takes about half of that."""


def wait_for_receipt(
    row: Row, runs: Runs, watch: Watch, result: Mapping[str, Any], folder: Path, dice: random.Random
) -> None:
    """Wait for an upload, killed once at a random moment, and see that the receipt says what happened, and no more."""
    path = folder / "receipts" / str(result["package_id"])
    arguments = {"upload": dict(result), "receipt_path": str(path), "poke_interval": 1.0}
    ended: Ended = ("killed", None)
    moment: Moment | None = Moment(lambda: True, dice.uniform(0.0, MAX_SECONDS))
    while ended[0] == "killed":
        ended = runs.run("TaskFinishedSensor", arguments, moment)
        row.runs += 1
        row.kills += ended[0] == "killed"
        moment = None
    note_end(row, f"wait for {path.name}", ended)
    if [one.name for one in path.glob("*")] != ["receipt.json"]:
        row.add_wrong(f"{path.name} has no receipt, or more than that")
        return
    check_receipt(row, watch, path / "receipt.json", str(result["package_id"]))


def check_receipt(row: Row, watch: Watch, path: Path, package_id: str) -> None:
    """Compare a receipt with what the simulator has."""
    seal = Seal(watch.simulator.settings.mchid, merchant_key(watch.simulator))
    try:
        receipt = read_receipt(path.read_bytes(), path.name, seal)
    except WxBankError as failure:
        row.add_wrong(f"the receipt of {package_id}: {failure}")
        return
    has = {task["filename"]: task for task in watch.simulator.report()["packages"][package_id]["tasks"]}
    told = {file.filename: (file.task_id, file.rows) for file in receipt.files}
    if told != {name: (task["task_id"], task["rows"]) for name, task in has.items()}:
        row.add_wrong(f"the receipt of {package_id} has other files than the package")
    # Nothing of bytes that were never sent: an adopted file may have been encrypted anew since.
    if wrong := [file.filename for file in receipt.files if file.sha256 not in (None, has[file.filename]["sha256"])]:
        row.add_wrong(f"the receipt of {package_id} has another sha256 than was sent, of {len(wrong)} files")
    if receipt.agree is not True:
        row.add_wrong(f"the sums of the receipt of {package_id} do not agree: {receipt.sums()}")
