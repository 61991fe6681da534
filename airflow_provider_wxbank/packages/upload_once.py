# SPDX-License-Identifier: Apache-2.0
"""Uploads an agreement file exactly once, whatever fails in between.

The natural key of an upload is (package, filename): WeChat Pay takes a filename once in a package. A filename is made
from the numbers inside, so a file that is there already is this very file. It is adopted, and never sent again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_wxbank.agreements.outgoing import OutgoingFile
from airflow_provider_wxbank.packages.endpoints import create_task, find_task
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import (
    AGAIN,
    InvalidInput,
    OutcomeUnknown,
    Refused,
    Unauthorized,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.retries import pause

MAX_POSTS = 6
"""Times that one file is posted at most, if the outcome is unknown each time."""

LOOKS = 6
"""Times that WeChat Pay is asked for a file that it may have, but does not list; with 23 seconds of pauses in all."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that WeChat Pay has. Its content, which may come from plain numbers, is not kept.

    :param adopted: whether it was there already, or was found there after an upload of unknown outcome.
    """

    filename: str
    rows: int
    task_id: str
    adopted: bool


def upload_once(
    client: Client,
    package_id: str,
    file: OutgoingFile,
    sleep: Callable[[float], None] = time.sleep,
) -> Uploaded:
    """Upload a file so that it is in the package exactly once.

    :raises OutcomeUnknown: not settled yet; the next run settles it.
    :raises Refused: WeChat Pay refuses the file, and has none of this name.
    """
    content = file.read()
    doubt: WxBankError | None = None
    for posts in range(1, MAX_POSTS + 1):
        try:
            task = create_task(client, package_id, content, file.bank_type, file.filename, file.serial_no)
        except Refused as failure:
            # WeChat Pay cannot sign a 401, so it proves as little as a lost answer does.
            if not isinstance(failure, Unauthorized):
                return _found_after_refusal(client, package_id, file, failure, sleep, had_doubt=doubt is not None)
            doubt = failure
        except OutcomeUnknown as failure:
            doubt = failure
        else:
            return Uploaded(file.filename, file.rows, task.task_id, adopted=False)
        # The outcome is not known. The list settles it if the file is on it, and if not, another post does.
        log.warning("%s; asking for %s", doubt, file.filename)
        if (found := find_task(client, package_id, file.filename)) is not None:
            return adopted(file, found)
        sleep(pause(posts))
    assert doubt is not None
    raise doubt


def _found_after_refusal(
    client: Client,
    package_id: str,
    file: OutgoingFile,
    refusal: Refused,
    sleep: Callable[[float], None],
    *,
    had_doubt: bool,
) -> Uploaded:
    """The file that was refused because it is there already.

    No source documents which code a duplicate filename gets, so any refusal may mean that.

    :param had_doubt: whether an earlier post of the file was perhaps taken.
    :raises Refused: it is not there.
    :raises OutcomeUnknown: it may be there, but is not listed.
    """
    # A file may be taken before it is listed: if it may be there, one look is not enough.
    may_be_there = had_doubt or _may_mean_exists(refusal)
    looks = LOOKS if may_be_there else 1
    for look in range(1, looks + 1):
        if (found := find_task(client, package_id, file.filename)) is not None:
            return adopted(file, found)
        if look < looks:
            sleep(pause(look + 1))
    if not may_be_there:
        raise refusal
    raise OutcomeUnknown(f"{file.filename} was perhaps taken, but is not listed yet: {refusal}{AGAIN}") from refusal


def adopted(file: OutgoingFile, task: UploadTask) -> Uploaded:
    """A file that is there already.

    :raises InvalidInput: it is there for another bank type.
    """
    # WeChat Pay may leave the bank type out.
    if task.bank_type not in (None, file.bank_type):
        raise InvalidInput(
            f"the package has {file.filename} already, but for bank_type {task.bank_type}, not {file.bank_type}"
        )
    log.info("Adopted %s: it is there already as task %s", file.filename, task.task_id)
    return Uploaded(file.filename, file.rows, task.task_id, adopted=True)


def _may_mean_exists(failure: Refused) -> bool:
    # 重复 is "repeated", 已存在 is "exists already", 文件名 is "filename".
    text = f"{failure.refusal.message} {failure.refusal.detail}".lower()
    return any(word in text for word in ("重复", "已存在", "exist", "duplicate", "文件名"))
