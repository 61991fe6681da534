# SPDX-License-Identifier: Apache-2.0
"""The two endpoints of number packages, field for field, for clients of both kinds.

Sources: chapter9_8_1 and chapter9_8_2 of WeChat Pay's APIv3 wiki, docs/merchant/apis/marketing-bank-packages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Iterator
from typing import Literal

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from airflow_provider_wxbank.agreements.files import check_bank_type, check_content, check_filename
from airflow_provider_wxbank.packages.tasks import MAX_PAGE, TaskPage, UploadTask, read_page, read_task
from airflow_provider_wxbank.wechatpay.calls import Call, compact_json, parsed, target
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import check_serial_no
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    OutcomeUnknown,
    TryLater,
    UnverifiedAnswer,
)
from airflow_provider_wxbank.wechatpay.flows import Caller, run, run_each

Status = Literal["PROCESSING", "FINISHED"]

MAX_WALKS = 4
"""Times that a list is read from its start because it changed while it was read."""

_PACKAGE_ID = re.compile(r"[0-9A-Za-z]{4,16}")
# What programs write for a missing value; most of it would pass for an id.
_NOTHING = frozenset({"none", "nan", "null", "true", "false"})


def create_task(
    client: Client, package_id: str, content: bytes, bank_type: str, filename: str, serial_no: str
) -> UploadTask:
    """Upload one agreement file: one POST, not repeated when its outcome is unknown.

    :param content: at most 5,500 lines, each one encrypted number and ``\\n``; at most 2,000,000 bytes.
    :param bank_type: for example ``ICBC_DEBIT``.
    :param filename: unique in the package; 4 to 128 of ``A-Z a-z 0-9 _ . -``.
    :param serial_no: serial of the platform key that encrypted the lines.
    :raises OutcomeUnknown: ask :func:`find_task` whether it was taken.
    :raises Refused: WeChat Pay does not take the file, or has one of this name already.
    """
    return run(acreate_task(client, package_id, content, bank_type, filename, serial_no))


async def acreate_task(
    client: Caller, package_id: str, content: bytes, bank_type: str, filename: str, serial_no: str
) -> UploadTask:
    """:func:`create_task` as a coroutine."""
    # Whatever can be seen to be wrong is refused here, before anything is sent.
    path = tasks_path(package_id)
    check_filename(filename)
    check_bank_type(bank_type)
    check_content(content, filename)
    check_serial_no(serial_no)
    # Only this part is signed; by the sha256 in it the file is covered, too.
    meta = compact_json({"filename": filename, "sha256": hashlib.sha256(content).hexdigest(), "bank_type": bank_type})
    body, content_type = multipart(meta, filename, content)
    call = Call("POST", path, meta, body, content_type, serial_no, repeatable=False, endpoint="create_task")
    answer = await client.asend(call)
    try:
        task = read_task(parsed(answer))
    except UnverifiedAnswer as failure:
        # An answer that cannot be read does not mean that the file was refused.
        raise OutcomeUnknown(f"{filename}: {failure}. Whether it was taken is not known") from None
    if (task.filename, task.package_id) != (filename, package_id):
        # A signed answer to another request can be brought again within its five minutes.
        raise OutcomeUnknown(f"{filename}: the answer is about another file. Whether this one was taken is not known")
    return task


def multipart(meta: bytes, filename: str, content: bytes, boundary: str | None = None) -> tuple[bytes, str]:
    """Body and Content-Type of an upload: the part ``meta`` first, then ``file`` (P/4012557248)."""
    meta_part, file_part = RequestField("meta", meta), RequestField("file", content, filename)
    meta_part.make_multipart(content_type="application/json")
    file_part.make_multipart(content_type="text/plain" if filename.endswith(".txt") else "text/csv")
    return encode_multipart_formdata([meta_part, file_part], boundary)


def list_tasks_page(
    client: Client,
    package_id: str,
    status: Status | None = None,
    filename: str | None = None,
    offset: int = 0,
    limit: int = MAX_PAGE,
) -> TaskPage:
    """One page of a package's upload tasks, as WeChat Pay answers it.

    :param offset: number of the page, from 0 (分页页码，页码从0开始).
    :param limit: 1 to 20.
    :raises UnverifiedAnswer: the page does not fit the question.
    """
    return run(alist_tasks_page(client, package_id, status, filename, offset, limit))


async def alist_tasks_page(
    client: Caller,
    package_id: str,
    status: Status | None = None,
    filename: str | None = None,
    offset: int = 0,
    limit: int = MAX_PAGE,
) -> TaskPage:
    """:func:`list_tasks_page` as a coroutine."""
    if filename is not None:
        check_filename(filename)
    if status not in (None, "PROCESSING", "FINISHED"):
        raise InvalidInput(f"status must be PROCESSING or FINISHED, not {status!r}")
    if offset < 0 or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"offset must be 0 or more and limit 1 to {MAX_PAGE}, not {offset} and {limit}")
    params = {"filename": filename, "offset": offset, "limit": limit, "status": status}
    endpoint = "list_tasks" if filename is None else "find_task"
    query = target(tasks_path(package_id), params)
    call = Call("GET", query, serial_no=client.keys.request_serial, endpoint=endpoint)
    page = read_page(parsed(await client.asend(call)))
    # A signature does not say which question was answered.
    for task in page.tasks:
        if task.package_id != package_id or filename not in (None, task.filename):
            raise UnverifiedAnswer(f"the answer to {call} is about other tasks than those asked for")
        # WeChat Pay may leave a task's status out.
        if None not in (status, task.status) and task.status != status:
            raise UnverifiedAnswer(f"the answer to {call} has a task that is {task.status}")
    if not _answers(page, offset, limit):
        raise UnverifiedAnswer(
            f"the answer to {call} is to another question: it says offset {page.offset}, limit {page.limit}, "
            f"{len(page.tasks)} of {page.total_count} tasks"
        )
    return page


def _answers(page: TaskPage, offset: int, limit: int) -> bool:
    """Whether a page whose tasks fit can be trusted as a whole: its total, and that there is nothing more on it.

    Somebody in between can bring a signed page again that answered another question. The page may repeat its question,
    which shows that. Nobody has seen a second page of WeChat Pay's, so a second page with tasks is taken whatever it
    repeats; how many tasks there are in all is known from the first page.
    """
    if page.total_count < len(page.tasks):
        return False
    # There are tasks, so the first page of them cannot be empty.
    if not page.tasks and page.total_count and offset == 0:
        return False
    # An offset that is repeated may be in pages or in rows; see list_tasks().
    fits = page.limit in (None, limit) and page.offset in (None, offset, offset * limit)
    return fits or (offset > 0 and bool(page.tasks))


def list_tasks(
    client: Client, package_id: str, status: Status | None = None, filename: str | None = None
) -> Iterator[UploadTask]:
    """Every upload task of a package, each once, whatever ``offset`` counts.

    All sources call ``offset`` a page number, but other lists of WeChat Pay count rows with it. If the page at offset 1
    is nearly the page at offset 0, rows are counted. The list may grow while it is read. It is then read again, until
    as many tasks were seen as WeChat Pay counts. Tasks are never removed, so none is lost by that.

    :raises TryLater: the list kept changing.
    """
    return run_each(alist_tasks(client, package_id, status, filename))


async def alist_tasks(
    client: Caller, package_id: str, status: Status | None = None, filename: str | None = None
) -> AsyncGenerator[UploadTask, None]:
    """:func:`list_tasks` in a coroutine."""
    seen: set[str] = set()
    total = 0
    for _ in range(MAX_WALKS):
        offset, step, end = 0, 1, 0
        # On this walk alone: a second walk meets again what the first has seen.
        met: set[str] = set()
        previous: tuple[str, ...] = ()
        while True:
            page = await alist_tasks_page(client, package_id, status, filename, offset)
            # The largest so far, since tasks are never removed.
            total = max(total, page.total_count)
            # More pages than there can be, even if the list grows meanwhile: a walk must end, whatever is answered.
            end = end or 2 * total
            ids = tuple(task.task_id for task in page.tasks)
            for task in page.tasks:
                if task.task_id not in seen:
                    seen.add(task.task_id)
                    yield task
            if len(seen) >= total:
                return
            if step == 1 and offset == 1 and counts_rows(previous, ids):
                # On by rows, from right behind the first page.
                offset, step = 0, len(previous)
            # A page with nothing new is behind the end. If tasks are still missing, the list has moved.
            elif met.issuperset(ids) or offset >= end:
                break
            met.update(ids)
            previous = ids
            offset += step
    raise TryLater(
        f"the upload tasks of package {package_id} could not be read whole: {len(seen)} of {total} were seen in "
        f"{MAX_WALKS} readings; run it again later"
    )


def counts_rows(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether the page at offset 1 shows that ``offset`` counts rows: most of the page at offset 0 is on it, too.

    If pages are counted, a task is on both only if the list grew in between, and then only a few are.
    """
    return len(first) > 1 and 2 * len(set(first).intersection(second)) > len(first)


def find_task(client: Client, package_id: str, filename: str) -> UploadTask | None:
    """The upload task of a filename, or None if WeChat Pay lists none."""
    return run(afind_task(client, package_id, filename))


async def afind_task(client: Caller, package_id: str, filename: str) -> UploadTask | None:
    """:func:`find_task` as a coroutine."""
    # One is enough: a filename is unique in its package.
    page = await alist_tasks_page(client, package_id, filename=filename, limit=1)
    return page.tasks[0] if page.tasks else None


def tasks_path(package_id: str) -> str:
    """The path of a package's upload tasks.

    :raises InvalidInput: the package id is invalid.
    """
    if str(package_id).lower() in _NOTHING:
        raise InvalidInput(
            f"package_id is {str(package_id)!r}, which is no id: the template, variable or task that should give it "
            "gave nothing"
        )
    if not isinstance(package_id, str):
        raise InvalidInput(f"package_id is of type {type(package_id).__name__}: it must be a text, in quotes")
    if not _PACKAGE_ID.fullmatch(package_id):
        raise InvalidInput(
            f"package_id {package_id[:40]!r} must be 4 to 16 letters or digits, as the merchant platform "
            "shows it (for example 8473295)"
        )
    return f"/v3/marketing/bank/packages/{package_id}/tasks"
