"""Number packages (号码包): the two endpoints field for field, and the upload task.

Sources: chapter9_8_1 and chapter9_8_2 of WeChat Pay's APIv3 wiki, docs/merchant/apis/marketing-bank-packages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeVar

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from airflow_provider_wxbank.wechatpay.client import Client, compact_json, parsed, target
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    OutcomeUnknown,
    TryLater,
    UnverifiedAnswer,
)
from airflow_provider_wxbank.wechatpay.keys import check_serial_no
from airflow_provider_wxbank.wechatpay.transport import Call

T = TypeVar("T")

Status = Literal["PROCESSING", "FINISHED"]

MAX_PAGE = 20
"""Tasks in a page (chapter9_8_2: 单次最多查询20条记录)."""

MAX_ROWS = 5500
"""Rows of a file (FAQ 4015182386: 单个文件最多支持上传5500条)."""

MAX_BYTES = 2_000_000
"""Bytes of a file (chapter9_8_1: 文件大小不能超过2MB); whether MB is 10^6 or 2^20 is not stated, so the smaller."""

MAX_WALKS = 4
"""Times that a list is read from its start because it changed while it was read."""

_PACKAGE_ID = re.compile(r"[0-9A-Za-z]{4,16}")
_NOTHING = frozenset({"none", "nan", "null", "true", "false"})
_FILENAME = re.compile(r"[A-Za-z0-9_.-]{4,128}")
_BANK_TYPE = re.compile(r"[A-Z0-9]+(_[A-Z]+)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d*))?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UploadTask:
    """One uploaded file and its processing (快捷交易协议号上传任务).

    :param status: ``PROCESSING`` or ``FINISHED``; None where WeChat Pay leaves it out.
    :param success_count: numbers matched; valid only when finished.
    :param fail_count: numbers not matched; valid only when finished.
    :param success_user_count: WeChat Pay users matched; a number may belong to several.
    """

    task_id: str
    package_id: str
    filename: str
    create_time: datetime | None = None
    update_time: datetime | None = None
    status: str | None = None
    bank_type: str | None = None
    success_count: int | None = None
    fail_count: int | None = None
    success_user_count: int | None = None

    __version__: ClassVar[int] = 1
    """Of its form in an XCom, for Airflow's serialization."""

    @property
    def is_finished(self) -> bool:
        """Whether WeChat Pay has processed the whole file."""
        return self.status == "FINISHED"

    def serialize(self) -> dict[str, Any]:
        """Its form in an XCom: times as texts, which keep the offset that WeChat Pay gave."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> UploadTask:
        """The other way round."""
        times = {name: data[name] and datetime.fromisoformat(data[name]) for name in ("create_time", "update_time")}
        return cls(**{**data, **times})


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of a package's upload tasks.

    :param total_count: tasks that match the question, on all pages.
    :param offset: what the answer says was asked; None if it does not say.
    :param limit: likewise.
    """

    tasks: tuple[UploadTask, ...]
    total_count: int
    offset: int | None
    limit: int | None

    __version__: ClassVar[int] = 1

    def serialize(self) -> dict[str, Any]:
        """Its form in an XCom; Airflow asks the tasks for theirs."""
        return {
            "tasks": list(self.tasks), "total_count": self.total_count, "offset": self.offset, "limit": self.limit,
        }  # fmt: skip

    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> TaskPage:
        """The other way round."""
        return cls(**{**data, "tasks": tuple(data["tasks"])})


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
    path = tasks_path(package_id)
    check_filename(filename)
    check_bank_type(bank_type)
    check_content(content, filename)
    check_serial_no(serial_no)
    meta = compact_json({"filename": filename, "sha256": hashlib.sha256(content).hexdigest(), "bank_type": bank_type})
    body, content_type = multipart(meta, filename, content)
    call = Call("POST", path, meta, body, content_type, serial_no, repeatable=False)
    answer = client.send(call)
    try:
        task = _task(parsed(answer))
    except UnverifiedAnswer as failure:
        raise OutcomeUnknown(f"{filename}: {failure}. Whether it was taken is not known") from None
    if (task.filename, task.package_id) != (filename, package_id):
        # A signed answer to another request, brought again within its five minutes.
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
    if filename is not None:
        check_filename(filename)
    if status not in (None, "PROCESSING", "FINISHED"):
        raise InvalidInput(f"status must be PROCESSING or FINISHED, not {status!r}")
    if offset < 0 or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"offset must be 0 or more and limit 1 to {MAX_PAGE}, not {offset} and {limit}")
    params = {"filename": filename, "offset": offset, "limit": limit, "status": status}
    call = Call("GET", target(tasks_path(package_id), params), serial_no=client.keys.request_serial)
    page = _page(parsed(client.send(call)))
    for task in page.tasks:
        if task.package_id != package_id or filename not in (None, task.filename):
            raise UnverifiedAnswer(f"the answer to {call} is about other tasks than those asked for")
        if None not in (status, task.status) and task.status != status:
            raise UnverifiedAnswer(f"the answer to {call} has a task that is {task.status}")
    if not _answers(page, offset, limit):
        raise UnverifiedAnswer(
            f"the answer to {call} is to another question: it says offset {page.offset}, limit {page.limit}, "
            f"{len(page.tasks)} of {page.total_count} tasks"
        )
    return page


def _answers(page: TaskPage, offset: int, limit: int) -> bool:
    """Whether a page whose tasks fit can be believed as a whole: its total, and that there is no more on it.

    Somebody in between can bring a signed page again that was the answer to another question. What it says of its
    question tells, if it says anything. Nobody has seen a second page of WeChat Pay's, so one with tasks is taken
    whatever it says; how many there are in all is known from the first.
    """
    if not page.tasks and page.total_count and offset == 0:
        return False
    fits = page.limit in (None, limit) and page.offset in (None, offset, offset * limit)
    return fits or (offset > 0 and bool(page.tasks))


def list_tasks(
    client: Client, package_id: str, status: Status | None = None, filename: str | None = None
) -> Iterator[UploadTask]:
    """Every upload task of a package, each once, whatever ``offset`` counts.

    All sources call ``offset`` a page number, yet other lists of WeChat Pay count rows in it. If the page at offset 1
    is nearly the page at offset 0, rows are counted. The list may grow while it is read: then it is read again until as
    many tasks were seen as WeChat Pay counts. Tasks are never removed, so nothing is lost by that.

    :raises TryLater: the list kept changing.
    """
    seen: set[str] = set()
    total = 0
    for _ in range(MAX_WALKS):
        offset, step, end = 0, 1, 0
        met: set[str] = set()
        previous: tuple[str, ...] = ()
        while True:
            page = list_tasks_page(client, package_id, status, filename, offset)
            total = max(total, page.total_count)
            # Twice as many pages as tasks are more than there can be, even if the list grows meanwhile.
            end = end or 2 * total
            ids = tuple(task.task_id for task in page.tasks)
            for task in page.tasks:
                if task.task_id not in seen:
                    seen.add(task.task_id)
                    yield task
            if len(seen) >= total:
                return
            if step == 1 and offset == 1 and counts_rows(previous, ids):
                offset, step = 0, len(previous)
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

    If pages are counted, a row is on both only if the list grew by a row in between, which a few may.
    """
    return len(first) > 1 and 2 * len(set(first).intersection(second)) > len(first)


def find_task(client: Client, package_id: str, filename: str) -> UploadTask | None:
    """The upload task of a filename, or None if WeChat Pay lists none."""
    page = list_tasks_page(client, package_id, filename=filename, limit=1)
    return page.tasks[0] if page.tasks else None


def tasks_path(package_id: str) -> str:
    """The path of a package's upload tasks.

    :raises InvalidInput: the package id is none.
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


def check_filename(filename: str) -> None:
    """:raises InvalidInput: not 4 to 128 of ``A-Z a-z 0-9 _ . -``."""
    if not isinstance(filename, str) or not _FILENAME.fullmatch(filename):
        raise InvalidInput(f"filename {str(filename)[:140]!r} must be 4 to 128 characters of A-Z a-z 0-9 _ . -")


def check_bank_type(bank_type: str) -> None:
    """:raises InvalidInput: not shaped like a bank type (P/4012076355), for example ``ICBC_DEBIT``."""
    if not isinstance(bank_type, str) or not _BANK_TYPE.fullmatch(bank_type) or len(bank_type) > 32:
        raise InvalidInput(
            f"bank_type {str(bank_type)[:40]!r} must look like ICBC_DEBIT: upper-case letters and digits, "
            "up to 32 characters"
        )


def check_content(content: bytes, filename: str) -> None:
    """:raises InvalidInput: empty, or over 5,500 rows or 2,000,000 bytes."""
    rows = content.count(b"\n") + (not content.endswith(b"\n") if content else 0)
    if not 1 <= rows <= MAX_ROWS or len(content) > MAX_BYTES:
        raise InvalidInput(
            f"{filename} has {rows} rows and {len(content)} bytes; a file has 1 to {MAX_ROWS} rows and at most "
            f"{MAX_BYTES} bytes"
        )


def parse_time(text: object) -> datetime | None:
    """A time of WeChat Pay: RFC 3339, with milliseconds, without, or with a bare dot; None if unreadable.

    A time without an offset is Beijing's.
    """
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) and len(text) <= 64 else None
    if match is None:
        return None
    date, clock, fraction, offset = match.groups()
    offset = "+00:00" if offset == "Z" else offset or "+08:00"
    try:
        return datetime.fromisoformat(f"{date}T{clock}.{(fraction or '').ljust(6, '0')[:6]}{offset}")
    except ValueError:
        return None


def _page(value: Any) -> TaskPage:
    try:
        data = [] if value.get("data") is None else value["data"]
        if not isinstance(data, list) or len(data) > 10 * MAX_PAGE:
            raise TypeError
        return TaskPage(
            tuple(_task(item) for item in data),
            _count(value["total_count"]),
            _echo(value.get("offset")),
            _echo(value.get("limit")),
        )
    except (KeyError, TypeError, AttributeError):
        raise UnverifiedAnswer("the answer is not a page of upload tasks") from None


def _task(value: Any) -> UploadTask:
    """An upload task from its JSON; optional fields may be missing or null."""
    try:
        return UploadTask(
            task_id=_text(value["task_id"]),
            package_id=_text(value["package_id"]),
            filename=_text(value["filename"]),
            create_time=parse_time(value.get("create_time")),
            update_time=parse_time(value.get("update_time")),
            status=_optional(_text, value.get("status")),
            bank_type=_optional(_text, value.get("bank_type")),
            success_count=_optional(_count, value.get("success_count")),
            fail_count=_optional(_count, value.get("fail_count")),
            success_user_count=_optional(_count, value.get("success_user_count")),
        )
    except (KeyError, TypeError, AttributeError):
        raise UnverifiedAnswer("the answer is not an upload task") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise TypeError
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise TypeError
    return value


def _echo(value: object) -> int | None:
    """A number of the question as the answer repeats it, cut off where it is absurd; None for what is no number."""
    return max(-1, min(value, 10**12)) if isinstance(value, int) and not isinstance(value, bool) else None


def _optional(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)
