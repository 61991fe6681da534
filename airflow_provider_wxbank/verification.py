# SPDX-License-Identifier: Apache-2.0
"""Verifies receipts: as they were written, with sums that agree, and what WeChat Pay's own list says today."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from airflow_provider_wxbank.agreements.seal import IDENTITY_DIGITS, Seal
from airflow_provider_wxbank.packages.connection_check import Step
from airflow_provider_wxbank.packages.counts import some_of
from airflow_provider_wxbank.packages.poll import Memory, wanted_tasks
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wanted import Wanted
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.receipts import receipt_place, seal_of
from airflow_provider_wxbank.reporting.receipt import MAX_RECEIPT_BYTES, Receipt, ReceiptFile, read_receipt
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import WaitFailed, WrongReceipt, WxBankError
from airflow_provider_wxbank.wechatpay.flows import Caller, run

MAX_TOLD = 5
"""Files or exports that a message names one by one."""

_IDENTIFIED = re.compile(rf"(.+)#([0-9a-f]{{{IDENTITY_DIGITS}}})", re.DOTALL)


_STEPS = ("run", "exports", "sums", "verdict")


def find_receipt(written: str, seal: Seal) -> Receipt:
    """Read a receipt and check that it is as it was written.

    :param written: a path or URL, with or without the identity that the sensor's result gives.
    :param seal: of the connection.
    :raises WrongReceipt: it is not, or has another identity, or is another merchant's.
    :raises InvalidInput: it does not exist, or may not be read.
    :raises TryLater: its place was not reached.
    """
    match = _IDENTIFIED.fullmatch(written)
    path, identity = (match[1], match[2]) if match else (written, None)
    where = receipt_place(path, "receipt")
    receipt = read_receipt(where.read(MAX_RECEIPT_BYTES), where.uri, seal)
    if identity not in (None, receipt.identity):
        raise WrongReceipt(
            f"{where.uri} has the identity {receipt.identity}, not {identity}: it is another receipt", "other_receipt"
        )
    return receipt


def verify(written: str, client: Client, *, online: bool) -> Iterator[Step]:
    """Verify a receipt step by step; after a failure of the first the rest is skipped. What it admits itself is told.

    :param written: as for :func:`find_receipt`.
    :param online: whether to ask WeChat Pay.
    """
    try:
        receipt = find_receipt(written, seal_of(client))
    except WxBankError as failure:
        yield Step.failed("receipt", failure)
        skipped = (*_STEPS, "WeChat Pay") if online else _STEPS
        yield from (Step(name, "skipped", "after the failure of receipt") for name in skipped)
        return
    path = written.removesuffix(f"#{receipt.identity}")
    yield Step("receipt", "ok", f"{receipt.identity}, as it was written on {receipt.written_at}: {path}")
    by = "nobody, as far as Airflow told" if receipt.run.triggered_by is None else receipt.run.triggered_by
    yield Step("run", "ok", f"{receipt.run}, triggered by {by}; merchant {receipt.mchid}")
    yield _exports(receipt)
    yield verify_sums(receipt)
    yield _verdict(receipt)
    if online:
        try:
            yield run(verify_online(client, receipt))
        except WxBankError as failure:
            yield Step.failed("WeChat Pay", failure)


def _exports(receipt: Receipt) -> Step:
    """Which exports it tells of, and of which it could not."""
    problems = [one.problem for one in receipt.exports if one.problem is not None]
    if not receipt.exports:
        return Step("exports", "skipped", "it tells of none")
    if problems:
        told = some_of(problems, MAX_TOLD)
        exports = number_of(len(receipt.exports), "export")
        message = f"of {len(problems)} of {exports} the rows and files are not known: {told}"
        return Step("exports", "skipped", message)
    rows, skipped = (sum(getattr(one, name) or 0 for one in receipt.exports) for name in ("rows", "skipped"))
    left_out = number_of(skipped, "invalid row was", "invalid rows were")
    return Step("exports", "ok", f"{len(receipt.exports)}, of {number_of(rows, 'row')}; {left_out} skipped")


def _verdict(receipt: Receipt) -> Step:
    """Whether the import was accepted. A receipt of one that was not is genuine all the same."""
    limit = receipt.max_fail_ratio
    if limit is None:
        return Step("verdict", "ok", f"{receipt.fail_ratio:.2%} did not match, and any share was accepted")
    message = f"{receipt.fail_ratio:.2%} did not match, and max_fail_ratio allowed {limit:.2%}"
    if receipt.is_accepted:
        return Step("verdict", "ok", message)
    return Step.failed("verdict", WaitFailed(f"{message}: the import was not accepted, and its task failed"))


def verify_sums(receipt: Receipt) -> Step:
    """Whether what WeChat Pay counted accounts for every row."""
    sums, agree = receipt.sums(), receipt.agree
    counted = (
        f"{sums['success_count']:,} matched and {sums['fail_count']:,} did not, in {number_of(sums['files'], 'file')} "
        f"of package {receipt.package_id}"
    )
    if agree is None:
        return Step("sums", "skipped", f"{counted}; whether these are all rows that were exported is not known")
    sent = f"{number_of(sums['rows'] or 0, 'row was', 'rows were')} sent: {counted}"
    if agree:
        return Step("sums", "ok", sent)
    message = (
        f"{sent}. By {number_of(sums['unaccounted'], 'number')} they do not agree"
        if sums["unaccounted"]
        else f"{counted}, and the manifest of the export says another number of rows"
    )
    return Step.failed("sums", WrongReceipt(message, "sums"))


async def verify_online(client: Caller, receipt: Receipt) -> Step:
    """Whether WeChat Pay's own list says the same today: every task is there, is finished, and has the same counts.

    It takes one call a file up to 20 files; for more, pages of 20 tasks, from the newest on.

    :raises WxBankError: WeChat Pay could not be asked.
    """
    target = Wanted(receipt.package_id, filenames=frozenset(file.filename for file in receipt.files))
    memory = Memory(client, receipt.package_id)
    listed = {task.filename: task async for task in wanted_tasks(client, target, memory)}
    count = len(receipt.files)
    if differing := list(_differences(receipt.files, listed)):
        told = some_of(differing, MAX_TOLD)
        message = f"WeChat Pay says something else of {len(differing):,} of {number_of(count, 'task')} today: {told}"
        return Step.failed("WeChat Pay", WrongReceipt(message, "differs_now"))
    listed_now = "its task" if count == 1 else f"all {count:,} tasks"
    return Step("WeChat Pay", "ok", f"lists {listed_now}, finished, with the same counts")


def _differences(files: Sequence[ReceiptFile], listed: Mapping[str, UploadTask]) -> Iterator[str]:
    """What WeChat Pay says otherwise, once for each file."""
    for file in files:
        task = listed.get(file.filename)
        if task is None:
            yield f"{file.filename} is not listed any more"
        elif task.task_id != file.task_id:
            yield f"{file.filename} is task {task.task_id}, not {file.task_id}"
        elif not task.is_finished:
            yield f"{file.filename} is not finished"
        elif counts := [
            f"{name} {now}, not {then}"
            for name in ("success_count", "fail_count", "success_user_count")
            if (now := getattr(task, name)) != (then := getattr(file, name))
        ]:
            yield f"{file.filename} has {' and '.join(counts)}"
