# SPDX-License-Identifier: Apache-2.0
"""Waits that are killed while they end, and what their receipts say of imports that were killed before."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.stress.crash_checks import Row, note_end
from tests.stress.crash_runs import Ended, Runs
from tests.stress.crash_watch import Moment, Watch
from tests.stress.receipts_told import wrong_in_receipt

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
    for wrong in wrong_in_receipt(watch.simulator, path, str(result["package_id"])):
        row.add_wrong(wrong)
