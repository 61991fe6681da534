# SPDX-License-Identifier: Apache-2.0
"""Upload tasks as WeChat Pay lists them, and as tasks of Airflow pass them on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from airflow_provider_wxbank.wechatpay.errors import UnverifiedAnswer

T = TypeVar("T")

MAX_PAGE = 20
"""Tasks in a page (chapter9_8_2: 单次最多查询20条记录)."""

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
    """The version of its form in an XCom, for Airflow's serialization."""

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
        """A task from its form in an XCom."""
        times = {name: data[name] and datetime.fromisoformat(data[name]) for name in ("create_time", "update_time")}
        return cls(**{**data, **times})


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of a package's upload tasks.

    :param total_count: tasks that match the question, on all pages.
    :param offset: the offset that was asked for, as the answer repeats it; None if it does not.
    :param limit: likewise.
    """

    tasks: tuple[UploadTask, ...]
    total_count: int
    offset: int | None
    limit: int | None

    __version__: ClassVar[int] = 1

    def serialize(self) -> dict[str, Any]:
        """Its form in an XCom. Airflow asks the tasks in it for theirs."""
        return {
            "tasks": list(self.tasks), "total_count": self.total_count, "offset": self.offset, "limit": self.limit,
        }  # fmt: skip

    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> TaskPage:
        """A page from its form in an XCom."""
        return cls(**{**data, "tasks": tuple(data["tasks"])})


def parse_time(text: object) -> datetime | None:
    """A time of WeChat Pay: RFC 3339, with or without milliseconds, or with a bare dot; None if it is unreadable.

    A time without an offset is Beijing time.
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


def read_page(value: Any) -> TaskPage:
    """A page from its JSON.

    :raises UnverifiedAnswer: it is not a page.
    """
    try:
        # An empty list may be missing, or null.
        data = [] if value.get("data") is None else value["data"]
        if not isinstance(data, list) or len(data) > 10 * MAX_PAGE:
            raise TypeError
        return TaskPage(
            tuple(read_task(item) for item in data),
            _count(value["total_count"]),
            _echo(value.get("offset")),
            _echo(value.get("limit")),
        )
    except (KeyError, TypeError, AttributeError):
        raise UnverifiedAnswer("the answer is not a page of upload tasks") from None


def read_task(value: Any) -> UploadTask:
    """An upload task from its JSON; optional fields may be missing or null.

    :raises UnverifiedAnswer: it is not an upload task.
    """
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
    # Such texts go into messages and logs, where a line break could forge a line.
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise TypeError
    return value


def _count(value: object) -> int:
    # A boolean is an int in Python.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise TypeError
    return value


def _echo(value: object) -> int | None:
    """A number of the question as the answer repeats it, within bounds; None if it is not a number."""
    return max(-1, min(value, 10**12)) if isinstance(value, int) and not isinstance(value, bool) else None


def _optional(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)
