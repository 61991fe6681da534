# SPDX-License-Identifier: Apache-2.0
"""Uploads and exports that are killed again and again without a scheduler, and files that are lost."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from tests.harness.bank import Bank
from tests.stress.crash_checks import (
    Row,
    check_killed_export,
    check_package,
    check_result,
    import_export,
    merchant_key,
    note_end,
)
from tests.stress.crash_receipts import wait_for_receipt
from tests.stress.crash_runs import Ended, Runs, export_arguments, upload
from tests.stress.crash_watch import GRACE_SECONDS, Moment, Watch, export_moment, upload_moment


def kill_uploads(
    row: Row, receipts: Row, runs: Runs, watch: Watch, folder: Path, bank: Bank, kills: int, dice: random.Random
) -> None:
    """Import the same export into one package after the other, killed until there were so many kills.

    :param receipts: the row for the waits that follow, and for their receipts.
    """
    files = len(list(folder.glob("*.csv")))
    package = 80_000_000
    while row.kills < kills and not row.hung:
        package += 1
        package_id = str(package)
        ended: Ended = ("killed", None)
        while ended[0] == "killed":
            moment = upload_moment(watch, package_id, files, dice) if row.kills < kills else None
            before = len(watch.kills[package_id])
            ended = runs.run(
                "UploadTaskOperator",
                upload(folder, package_id),
                moment,
                lambda kill, package_id=package_id: watch.kill(kill, package_id),  # type: ignore[misc]
            )
            row.runs += 1
            row.kills += len(watch.kills[package_id]) - before
        note_end(row, f"package {package_id}", ended)
        if ended[0] == "done":
            check_result(row, watch, package_id, ended[1])
            wait_for_receipt(receipts, runs, watch, ended[1], folder.parent, dice)
        check_package(row, watch, package_id, bank)


def kill_exports(
    row: Row, runs: Runs, watch: Watch, bank: Bank, out: Path, rows_per_file: int, kills: int, dice: random.Random
) -> None:
    """Export into one folder after the other, killed until there were so many kills, and import each that ended."""
    files = -(-len(bank.numbers) // rows_per_file)
    key = merchant_key(watch.simulator)
    number = 0
    while row.kills < kills and not row.hung:
        number += 1
        folder = out / f"export-{number}"
        package_id = str(90_000_000 + number)
        arguments = export_arguments(folder, rows_per_file, f"killed-{number}")
        ended: Ended = ("killed", None)
        here = 0
        while ended[0] == "killed":
            moment = None
            if row.kills < kills and here < 10:
                moment = export_moment(folder, files, dice, is_late=dice.random() < 1 / 3)
            before = len(watch.kills[str(folder)])
            ended = runs.run("ExportUsersOperator", arguments, moment, lambda kill: watch.kill(kill, str(folder)))  # noqa: B023  # called at once
            row.runs += 1
            now = len(watch.kills[str(folder)]) - before
            row.kills += now
            here += now
            if ended[0] == "killed":
                check_killed_export(row, folder, key, len(bank.numbers))
        note_end(row, folder.name, ended)
        import_export(row, runs, watch, bank, folder, package_id)


def lose_disk(row: Row, runs: Runs, watch: Watch, bank: Bank, out: Path, rows_per_file: int) -> None:
    """Lose files between export and upload, then in the middle of an upload: an error, and nothing is sent."""
    dice = random.Random(4)
    for number, lost in enumerate(("folder", "one file", "folder, in the middle of the upload"), 1):
        folder, package_id = out / f"lost-{number}", str(70_000_000 + number)
        export = export_arguments(folder, rows_per_file, f"lost-{number}")
        note_end(row, "export", runs.run("ExportUsersOperator", export))
        row.runs += 1
        if "middle" in lost:
            files = len(list(folder.glob("*.csv")))
            moment = Moment(lambda: watch.taken(package_id) >= files // 2, dice.uniform(0, 0.05))  # noqa: B023  # as above
            ended = runs.run(
                "UploadTaskOperator",
                upload(folder, package_id),
                moment,
                lambda kill: watch.kill(kill, package_id),  # noqa: B023  # as above
            )
            row.runs += 1
            row.kills += ended[0] == "killed"
            time.sleep(GRACE_SECONDS)
        if lost == "one file":
            max(folder.glob("*.csv")).unlink()
        else:
            shutil.rmtree(folder)
        before = watch.requests(package_id)
        ended = runs.run("UploadTaskOperator", upload(folder, package_id))
        row.runs += 1
        if ended[0] != "failed" or "does not exist: is it on the disk of another machine" not in str(ended[1]):
            row.add_wrong(f"{lost} lost: {ended}")
        if watch.requests(package_id) != before:
            row.add_wrong(f"{lost} lost: {watch.requests(package_id) - before} requests all the same")
    # The last one has some files already.
    note_end(row, "export", runs.run("ExportUsersOperator", export))
    note_end(row, "upload", runs.run("UploadTaskOperator", upload(folder, package_id)))
    row.runs += 2
    check_package(row, watch, package_id, bank)
