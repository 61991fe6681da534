# SPDX-License-Identifier: Apache-2.0
"""What the simulator makes of bodies of every shape and size, and how it says what is wrong with one."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from airflow_provider_wxbank.simulator.multipart import read_body
from tests.harness.raw_client import BOUNDARY, Answer, Upload, tasks_path
from tests.harness.simulators import Bank, assert_refused, start

_packages = count(20_000_000)

EXACTLY = "multipart必须恰好包含meta和file"
TOO_LARGE = "文件大小不能超过2MB"
NUMBER = "6222020000000001"


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    """A simulator for all tests; it decrypts nothing before the report is asked for."""
    with ExitStack() as stack:
        yield start(stack, check="later")


@pytest.fixture
def package() -> str:
    """A package that no other test uses."""
    return str(next(_packages))


def part(name: str, content: bytes, *, filename: str | None = None, headers: str = "") -> bytes:
    """A part of a multipart body, with its boundary in front."""
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True, slots=True)
class Sent:
    """An upload whose body is written by hand, signed over its meta."""

    upload: Upload
    body: bytes = field(repr=False)
    content_type: str | None = FORM

    def __call__(self, bank: Bank, package: str, headers: Mapping[str, str | None] | None = None) -> Answer:
        url = tasks_path(package)
        signed = bank.client.signed("POST", url, self.upload.meta_bytes())
        own = {"Content-Type": self.content_type, "Wechatpay-Serial": bank.key.serial_no}
        sent = {**signed, **own, **(headers or {})}
        return bank.client.send("POST", url, sent, self.body)


def meta_part(upload: Upload, headers: str = "") -> bytes:
    return part("meta", upload.meta_bytes(), headers=headers)


def file_part(upload: Upload, headers: str = "") -> bytes:
    return part("file", upload.content, filename=upload.filename, headers=headers)


def large(bank: Bank, size: int) -> Upload:
    return replace(bank.file(), content=b"A" * size)


# Bodies that are right


def unnamed(upload: Upload) -> Sent:
    return Sent(upload, meta_part(upload) + part("file", upload.content) + END)


@pytest.mark.parametrize("rows", [1, 5500], ids=str)
def test_a_file_without_a_filename_of_its_own_is_taken(bank: Bank, package: str, rows: int) -> None:
    upload = replace(bank.file(), content=bank.file().content * rows)
    assert unnamed(upload)(bank, package).value["filename"] == upload.filename


@pytest.mark.parametrize(
    "content_type",
    [
        f"Multipart/Form-Data; Boundary={BOUNDARY}",
        f'MULTIPART/FORM-DATA;boundary="{BOUNDARY}"',
        f"multipart/form-data; charset=utf-8; boundary={BOUNDARY}",
    ],
)
def test_a_content_type_counts_however_it_is_written(bank: Bank, package: str, content_type: str) -> None:
    upload = bank.file()
    assert Sent(upload, meta_part(upload) + file_part(upload) + END, content_type)(bank, package).status == 200


@pytest.mark.parametrize("headers", ["", "Content-Type: application/octet-stream\r\n", "CONTENT-TYPE: text/csv\r\n"])
def test_a_part_may_have_any_headers(bank: Bank, package: str, headers: str) -> None:
    upload = bank.file()
    body = meta_part(upload, headers) + file_part(upload, headers + "Content-Length: 345\r\n") + END
    assert Sent(upload, body)(bank, package).status == 200


def test_parts_may_come_in_either_order(bank: Bank, package: str) -> None:
    upload = bank.file()
    assert Sent(upload, b"\r\n" + file_part(upload) + meta_part(upload) + END)(bank, package).status == 200


def test_a_filename_in_the_file_is_enough(bank: Bank, package: str) -> None:
    upload = replace(bank.file(), meta={"filename": None})
    assert bank.client.upload(package, upload).value["filename"] == upload.filename


def test_another_member_of_meta_is_left_alone(bank: Bank, package: str) -> None:
    assert bank.client.upload(package, replace(bank.file(), meta={"more": {"a": 1}})).status == 200


# Bodies that are wrong: the signature is checked wherever there is a meta


def two_more_fields(upload: Upload) -> bytes:
    return meta_part(upload) + part("a", b"1") + part("b", b"2") + file_part(upload) + END


def hundred_more_fields(upload: Upload) -> bytes:
    return meta_part(upload) + b"".join(part(f"n{index}", b"1") for index in range(100)) + file_part(upload) + END


def two_metas(upload: Upload) -> bytes:
    return meta_part(upload) + meta_part(upload) + file_part(upload) + END


def no_file(upload: Upload) -> bytes:
    return meta_part(upload) + END


def no_end(upload: Upload) -> bytes:
    return meta_part(upload) + file_part(upload)


def half_a_file(upload: Upload) -> bytes:
    return meta_part(upload) + file_part(upload)[:-200]


def a_broken_header(upload: Upload) -> bytes:
    return meta_part(upload) + f"--{BOUNDARY}\r\nno header\r\n\r\nx\r\n".encode() + END


WRONG_PARTS = [
    (two_more_fields, EXACTLY, ""),
    (hundred_more_fields, EXACTLY, ""),
    (two_metas, EXACTLY, ""),
    (no_file, f"{EXACTLY}，缺少file", "/file"),
    (no_end, "multipart不完整", ""),
    (half_a_file, "multipart不完整", ""),
    (a_broken_header, "multipart格式错误", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("body", "message", "field"), WRONG_PARTS)
def test_wrong_parts_are_told_after_the_signature(
    bank: Bank, package: str, body: Any, message: str, field: str
) -> None:
    upload = bank.file()
    sent = Sent(upload, body(upload))
    answer = assert_refused(bank, lambda: sent(bank, package), 400, "PARAM_ERROR", message)
    assert answer.value["detail"]["field"] == field
    bank.key.verify(answer)
    forged = bank.client.signed("POST", tasks_path(package), b"{}")
    assert_refused(bank, lambda: sent(bank, package, forged), 401, "SIGN_ERROR", "错误的签名")


@pytest.mark.parametrize("size", [2_000_001, 9_000_000, 30_000_000])
@pytest.mark.parametrize("filename", ["file-0001.csv", None])
def test_a_file_that_is_too_large_is_told_at_any_size(
    bank: Bank, package: str, size: int, filename: str | None
) -> None:
    upload = large(bank, size)
    body = part("file", upload.content, filename=filename) + meta_part(upload) + END
    answer = assert_refused(bank, lambda: Sent(upload, body)(bank, package), 400, "PARAM_ERROR", TOO_LARGE)
    assert answer.value["detail"]["field"] == "/file"
    bank.key.verify(answer)


def no_meta(upload: Upload) -> bytes:
    return file_part(upload) + END


def half_a_meta(upload: Upload) -> bytes:
    return meta_part(upload)[:-20]


def nothing(upload: Upload) -> bytes:
    return b""


def other_text(upload: Upload) -> bytes:
    return b"meta=1&file=2"


def a_large_meta(upload: Upload) -> bytes:
    return part("meta", b" " * 2_000_001) + file_part(upload) + END


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (no_meta, FORM, f"{EXACTLY}，缺少meta"),
        (half_a_meta, FORM, "multipart不完整"),
        (a_large_meta, FORM, "meta过大"),
        (nothing, FORM, "multipart不完整"),
        (other_text, FORM, "multipart格式错误"),
        (no_end, "multipart/form-data", "Content-Type缺少boundary"),
        (no_end, "multipart/form-data; boundary=", "Content-Type缺少boundary"),
        (no_end, "multipart/form-data; boundary=another", "multipart格式错误"),
        (no_end, f"multipart/form-data; boundary={'b' * 300}", "multipart格式错误"),
        (no_end, f"multipart/mixed; boundary={BOUNDARY}", "Content-Type必须是multipart/form-data"),
        (other_text, "application/x-www-form-urlencoded", "Content-Type必须是multipart/form-data"),
        (other_text, None, "Content-Type必须是multipart/form-data"),
    ],
)
def test_a_body_without_a_meta_is_told_and_not_its_signature(
    bank: Bank, package: str, body: Any, content_type: str | None, message: str
) -> None:
    upload = bank.file()
    sent = Sent(upload, body(upload), content_type)
    answer = assert_refused(bank, lambda: sent(bank, package), 400, "PARAM_ERROR", message)
    # Nobody knows yet that it is the merchant who asks.
    assert not answer.is_signed
    stranger: Mapping[str, str | None] = {"Authorization": "Bearer x"}
    assert_refused(bank, lambda: sent(bank, package, stranger), 401, "SIGN_ERROR", "认证类型不正确")


async def _pieces(*pieces: tuple[bytes, int]) -> AsyncIterator[bytes]:
    for piece, times in pieces:
        for _ in range(times):
            yield piece


@pytest.mark.parametrize(
    ("start", "content_type"),
    [
        (part("file", b"", filename="file-0001.csv")[:-2], FORM),
        (part("meta", b"")[:-2], FORM),
        (part("other", b"")[:-2], FORM),
        (f"--{BOUNDARY}\r\nContent-Disposition: ".encode(), FORM),
        (b"", "application/json"),
    ],
    ids=["file", "meta", "other", "header", "no multipart"],
)
def test_memory_is_bounded_whatever_comes(start: bytes, content_type: str) -> None:
    tracemalloc.start()
    try:
        asyncio.run(read_body(_pieces((start, 1), (b"A" * 65536, 1600), (b"\r\n" + END, 1)), content_type))
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


# Errors


@pytest.mark.parametrize(
    ("meta", "field", "value"),
    [
        ({"sha256": None}, "/sha256", None),
        ({"bank_type": None}, "/bank_type", None),
        ({"bank_type": "icbc"}, "/bank_type", "icbc"),
        ({"bank_type": 1}, "/bank_type", 1),
        ({"bank_type": ["x"]}, "/bank_type", None),
        ({"bank_type": float("nan")}, "/bank_type", None),
        ({"filename": "\ud800.csv"}, "/filename", "?.csv"),
        ({"bank_type": "A" * 5000}, "/bank_type", "A" * 128),
        ({"filename": "a b.csv"}, "/filename", "a b.csv"),
        ({"filename": "other.csv"}, "/filename", "file-0001.csv"),
        ({"sha256": "0" * 64}, "/sha256", "0" * 64),
    ],
    ids=str,
)
def test_an_error_says_where_it_is(
    bank: Bank, package: str, meta: Mapping[str, object], field: str, value: object
) -> None:
    answer = bank.client.upload(package, replace(bank.file(), meta=meta))
    assert answer.status == 400
    issue = answer.value["message"]
    assert answer.value["detail"] == {"field": field, "value": value, "issue": issue, "location": "body"}


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("limit=21", "limit", 21),
        ("limit=ten", "limit", "ten"),
        ("status=FAILED", "status", "FAILED"),
        (f"phone={NUMBER}", "phone", None),
        ("offset=0&offset=1", "offset", "1"),
    ],
)
def test_an_error_says_where_in_the_query_it_is(
    bank: Bank, package: str, query: str, field: str, value: object
) -> None:
    detail = bank.client.tasks(package, query).value["detail"]
    assert (detail["field"], detail["value"], detail["location"]) == (field, value, "query")


def test_an_error_says_where_in_the_address_it_is(bank: Bank) -> None:
    detail = bank.client.tasks("123").value["detail"]
    assert (detail["field"], detail["value"], detail["location"]) == ("package_id", "123", "url")


def test_a_filename_that_exists_is_told_with_its_place(bank: Bank, package: str) -> None:
    bank.put(package)
    answer = bank.client.upload(package, bank.file())
    assert answer.value["code"] == "INVALID_REQUEST"
    detail = answer.value["detail"]
    assert (detail["field"], detail["value"], detail["location"]) == ("/filename", "file-0001.csv", "body")


def test_a_file_without_any_name_is_told(bank: Bank, package: str) -> None:
    upload = replace(bank.file(), meta={"filename": None})
    answer = assert_refused(bank, lambda: unnamed(upload)(bank, package), 400, "PARAM_ERROR", "必填性规则校验失败")
    assert answer.value["detail"]["field"] == "/filename"


@pytest.mark.parametrize(
    "content",
    [NUMBER.encode(), f"{NUMBER}\n\n".encode(), f"\ufeff{NUMBER}\n".encode(), f"{NUMBER}\n".encode() * 5501, b""],
    ids=["plain", "blank line", "BOM", "long", "empty"],
)
def test_no_error_repeats_a_line(content: bytes, package: str) -> None:
    with ExitStack() as stack:
        bank = start(stack)
        answer = bank.client.upload(package, replace(bank.file(), content=content))
    assert answer.status == 400
    assert NUMBER not in json.dumps(answer.value)


def refused_somehow(bank: Bank, package: str, headers: Mapping[str, str | None]) -> list[Answer]:
    """An error of every kind."""
    upload, url = bank.file(), tasks_path(package)
    bank.client.upload(package, upload)
    contents = [b"", b"A" * 2_000_001, b"A\n\nA\n", b"A\r\n", b"A\n" * 5501]
    files = [replace(upload, filename=f"file-{index}.csv", content=one) for index, one in enumerate(contents)]
    metas: list[Mapping[str, object]] = [
        {"sha256": None},
        {"sha256": "0" * 64},
        {"bank_type": "x"},
        {"filename": "other.csv"},
    ]
    changed = [replace(upload, filename="file-0002.csv", meta=meta) for meta in metas]
    serials = [replace(upload, serial_no=serial_no) for serial_no in (None, "0" * 40)]
    queries = ["limit=21", "limit=x", "page=1", "offset=0&offset=1"]
    items = bank.client.signer.items("GET", url, b"")
    wrong = [{"mchid": "1"}, {"serial_no": "1"}, {"timestamp": "1"}, {"nonce_str": ""}, {"signature": ""}]
    texts = ["", "WECHATPAY2-SHA256-RSA2048 x", *(_authorization(items | one) for one in wrong)]
    bodies = [(body, FORM) for body in (two_more_fields, no_file, no_end, a_broken_header, no_meta, a_large_meta)]
    return [
        *(bank.client.upload(package, one, headers) for one in (upload, *files, *changed, *serials)),
        *(bank.client.call("GET", f"{url}?{query}", headers) for query in queries),
        *(bank.client.call(method, path, headers) for method, path in (("PUT", url), ("GET", "/v3"))),
        *(bank.client.call("GET", tasks_path(name), headers) for name in ("123",)),
        *(bank.client.call("GET", url, {name: None, **headers}) for name in ("User-Agent", "Accept")),
        *(bank.client.send("GET", url, {"Authorization": text, **headers}) for text in texts),
        *(Sent(upload, body(upload), content_type)(bank, package, headers) for body, content_type in bodies),
        Sent(upload, b"", "text/plain")(bank, package, headers),
        Sent(upload, b"", "multipart/form-data")(bank, package, headers),
    ]


def _authorization(items: Mapping[str, str]) -> str:
    return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{name}="{value}"' for name, value in items.items())


def test_every_error_is_in_english_if_asked_for(bank: Bank, package: str) -> None:
    english = refused_somehow(bank, package, {"Accept-Language": "en"})
    chinese = refused_somehow(bank, package, {"Accept-Language": "zh-CN"})
    for one, other in zip(english, chinese, strict=True):
        assert (one.status, one.value["code"]) == (other.status, other.value["code"])
        assert one.value["message"].isascii(), one.value
        assert not other.value["message"].isascii(), other.value
        assert "issue" not in one.value.get("detail", {}) or one.value["detail"]["issue"] == one.value["message"]


@pytest.mark.parametrize(
    ("accept_language", "is_english"),
    [
        (None, False),
        ("", False),
        ("zh-CN", False),
        ("zh-HK", False),
        ("zh-TW", False),
        ("fr", False),
        ("*", False),
        ("en", True),
        ("EN-us", True),
        ("zh-CN,en;q=0.9", False),
        ("en, zh-CN;q=0.9", True),
        ("zh;q=0.1, en;q=0.2", True),
        ("fr, en;q=0.5, zh;q=0.4", True),
        ("en;q=0", False),
        ("en;q=x", False),
    ],
)
def test_an_error_is_in_the_language_that_is_preferred(
    bank: Bank, package: str, accept_language: str | None, is_english: bool
) -> None:
    answer = bank.client.call("GET", f"{tasks_path(package)}?limit=21", {"Accept-Language": accept_language})
    assert answer.value["message"].isascii() is is_english
    bank.key.verify(answer)


def test_an_error_on_demand_is_in_english_if_asked_for(bank: Bank, package: str) -> None:
    kinds = ["too-many-requests", "quota-reached", "internal-error", "unavailable", "forbidden", "accepted"]
    for kind in kinds:
        bank.client.set_faults({"kind": kind})
        assert bank.client.call("GET", tasks_path(package), {"Accept-Language": "en"}).value["message"].isascii()
        assert not bank.client.tasks(package).value["message"].isascii()
    bank.client.set_faults()
