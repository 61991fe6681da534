# SPDX-License-Identifier: Apache-2.0
"""Whether a receipt says what really happened, and no more: it is compared with what the simulator has."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_wxbank.agreements.seal import Seal
from airflow_provider_wxbank.reporting.receipt import read_receipt
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.wechatpay.errors import WxBankError
from tests.stress.crash_checks import merchant_key


def wrong_in_receipt(simulator: Simulator, path: Path, package_id: str, others: str = "foreign-") -> list[str]:
    """What is wrong with the receipt of all files of a package.

    :param path: of the folder, which has nothing but the receipt.
    :param others: how the names of files begin that somebody else uploaded.
    """
    if [one.name for one in path.glob("*")] != ["receipt.json"]:
        return [f"{path.name} has no receipt, or more than that"]
    seal = Seal(simulator.settings.mchid, merchant_key(simulator))
    try:
        receipt = read_receipt((path / "receipt.json").read_bytes(), path.name, seal)
    except WxBankError as failure:
        return [f"the receipt of {package_id}: {failure}"]
    wrong = []
    has = {
        task["filename"]: task
        for task in simulator.report()["packages"][package_id]["tasks"]
        if not task["filename"].startswith(others)
    }
    told = {file.filename: (file.task_id, file.rows) for file in receipt.files}
    if told != {name: (task["task_id"], task["rows"]) for name, task in has.items()}:
        wrong.append(f"the receipt of {package_id} has other files than the package")
    # Nothing of bytes that were never sent: an adopted file may have been encrypted anew since.
    elif other := [file.filename for file in receipt.files if file.sha256 not in (None, has[file.filename]["sha256"])]:
        wrong.append(f"the receipt of {package_id} has another sha256 than was sent, of {len(other)} files")
    lost = sum(task.lost for task in simulator.app.ledger.packages[package_id].values())
    if (receipt.agree, receipt.sums()["unaccounted"]) != (not lost, lost):
        wrong.append(f"the sums of the receipt of {package_id} are wrong: {receipt.sums()}")
    return wrong
