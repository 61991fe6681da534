"""The simulator over a real socket, against a client that shares no code with it or with ours."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse, IncompleteRead, LineTooLong, RemoteDisconnected
from threading import Barrier, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from airflow_provider_wxbank.simulator import Fault, numbers_digest, serve
from airflow_provider_wxbank.simulator.faults import BEFORE_ANSWER, KINDS, parse_fault
from tests.integration.raw_client import (
    CERTIFICATES,
    PATIENCE_SECONDS,
    Answer,
    PublicKey,
    Upload,
    authorization,
    tasks_path,
)
from tests.integration.simulator_bank import COUNTS, DAY, NOON, NOON_TEXT, Bank, NewBank, assert_refused, start

pytestmark = pytest.mark.without_airflow

_packages = itertools.count(10_000_000)


@pytest.fixture
def new_bank() -> Iterator[NewBank]:
    """Starts simulators of the test's own; options are those of SimulatorSettings."""
    with ExitStack() as stack:
        yield lambda **options: start(stack, **options)


@pytest.fixture(scope="module")
def shared() -> Iterator[Bank]:
    """A simulator for many tests; it finishes tasks at once."""
    with ExitStack() as stack:
        yield start(stack)


@pytest.fixture(scope="module")
def slow_shared() -> Iterator[Bank]:
    """A simulator for many tests; a task takes a minute of its clock, and three of ten numbers do not match."""
    with ExitStack() as stack:
        yield start(stack, processing_seconds=60.0, unmatched_ratio=0.3)


@pytest.fixture(scope="module")
def later_shared() -> Iterator[Bank]:
    """A simulator for many tests; it decrypts nothing before the report is asked for."""
    with ExitStack() as stack:
        yield start(stack, check="later")


@pytest.fixture
def bank(shared: Bank) -> Iterator[Bank]:
    """The shared simulator, without faults before and after."""
    yield shared
    shared.simulator.clear_faults()


@pytest.fixture
def package() -> str:
    """A package that no other test uses."""
    return str(next(_packages))


def set_faults(bank: Bank, *faults: Mapping[str, object]) -> None:
    answer = bank.client.set_faults(*faults)
    assert (answer.status, answer.value) == (200, {"faults": len(faults)})


# Authorization

FORMAT = "Authorization值格式错误"
CLOCK = "不得超过5分钟"
BAD_SIGNATURE = "错误的签名，导致验签失败"

Items = dict[str, str]


def without(name: str) -> Callable[[Items], str]:
    return lambda items: authorization({key: value for key, value in items.items() if key != name})


def with_item(name: str, value: str) -> Callable[[Items], str]:
    return lambda items: authorization(items | {name: value})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        pytest.param(without("mchid"), FORMAT, id="no mchid"),
        pytest.param(without("nonce_str"), FORMAT, id="no nonce_str"),
        pytest.param(without("signature"), FORMAT, id="no signature"),
        pytest.param(without("timestamp"), FORMAT, id="no timestamp"),
        pytest.param(without("serial_no"), FORMAT, id="no serial_no"),
        pytest.param(with_item("sixth", "1"), FORMAT, id="a sixth item"),
        pytest.param(lambda items: authorization(items).replace(",", ", "), FORMAT, id="spaces between items"),
        pytest.param(lambda items: authorization(items).replace('"', "'"), FORMAT, id="single quotes"),
        pytest.param(lambda items: authorization(items) + ',mchid="1900000001"', FORMAT, id="an item twice"),
        pytest.param(lambda items: authorization(items, "WECHATPAY2-SHA256-RSA2048 "), FORMAT, id="two spaces"),
        pytest.param(lambda items: authorization(items, "Bearer"), "认证类型不正确", id="other scheme"),
        pytest.param(lambda items: "", "认证类型不正确", id="empty"),
        pytest.param(with_item("mchid", "1900000002"), "mchid不存在", id="other mchid"),
        pytest.param(with_item("serial_no", "0" * 40), "商户证书序列号有误", id="other serial_no"),
        pytest.param(with_item("nonce_str", ""), "nonce_str长度错误", id="empty nonce_str"),
        pytest.param(with_item("nonce_str", "n" * 129), "nonce_str长度错误", id="long nonce_str"),
        pytest.param(with_item("nonce_str", "n" * 32), BAD_SIGNATURE, id="nonce_str not as signed"),
        pytest.param(with_item("timestamp", str(int(NOON) - 1)), BAD_SIGNATURE, id="timestamp not as signed"),
        pytest.param(with_item("timestamp", "noon"), CLOCK, id="timestamp not a number"),
        pytest.param(with_item("timestamp", "-1"), CLOCK, id="timestamp negative"),
        pytest.param(with_item("timestamp", "9" * 5000), CLOCK, id="timestamp too long for a number"),
        pytest.param(with_item("signature", "A" * 342 + "=="), BAD_SIGNATURE, id="signature of something else"),
        pytest.param(with_item("signature", "not Base64!"), BAD_SIGNATURE, id="signature not Base64"),
        pytest.param(with_item("signature", ""), BAD_SIGNATURE, id="signature empty"),
    ],
)
def test_a_wrong_authorization_is_refused(
    bank: Bank, package: str, header: Callable[[Items], str], message: str
) -> None:
    upload, url = bank.file(), tasks_path(package)
    text = header(bank.client.signer.items("POST", url, upload.meta_bytes()))
    answer = assert_refused(
        bank,
        lambda: bank.client.upload(package, upload, {"Authorization": text or None}),
        401,
        "SIGN_ERROR",
        message,
    )
    assert not answer.is_signed


@pytest.mark.parametrize(
    ("method", "url", "signed"),
    [
        pytest.param("PUT", "", None, id="another method"),
        pytest.param("POST", "?offset=0", None, id="another address"),
        pytest.param("POST", "", b"", id="no body"),
        pytest.param("POST", "", b"{}", id="another body"),
    ],
)
def test_a_signature_of_another_request_is_refused(
    bank: Bank, package: str, method: str, url: str, signed: bytes | None
) -> None:
    upload = bank.file()
    headers = bank.client.signed(method, tasks_path(package) + url, upload.meta_bytes() if signed is None else signed)
    assert_refused(bank, lambda: bank.client.upload(package, upload, headers), 401, "SIGN_ERROR", BAD_SIGNATURE)


def test_a_signature_of_the_whole_body_is_refused(bank: Bank, package: str) -> None:
    upload = bank.file()
    headers = bank.client.signed("POST", tasks_path(package), upload.body())
    assert_refused(bank, lambda: bank.client.upload(package, upload, headers), 401, "SIGN_ERROR", BAD_SIGNATURE)


def test_a_refused_signature_is_answered_with_what_should_have_been_signed(bank: Bank, package: str) -> None:
    answer = bank.client.send("GET", tasks_path(package), bank.client.signed("GET", "/elsewhere"))
    information = answer.value["detail"]["sign_information"]
    assert information["method"] == "GET"
    assert information["url"] == tasks_path(package)
    assert information["truncated_sign_message"].startswith(f"GET\n{tasks_path(package)}\n")


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_clock_off_by_more_than_five_minutes_is_refused(bank: Bank, package: str, seconds: int) -> None:
    upload = bank.file()
    headers = bank.client.signed("POST", tasks_path(package), upload.meta_bytes(), timestamp=str(int(NOON) + seconds))
    assert_refused(bank, lambda: bank.client.upload(package, upload, headers), 401, "SIGN_ERROR", CLOCK)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_off_by_five_minutes_is_accepted(bank: Bank, package: str, seconds: int) -> None:
    headers = bank.client.signed("GET", tasks_path(package), timestamp=str(int(NOON) + seconds))
    assert bank.client.send("GET", tasks_path(package), headers).status == 200


@pytest.fixture(scope="module")
def strict() -> Iterator[Bank]:
    """A simulator that refuses a nonce that came before."""
    with ExitStack() as stack:
        yield start(stack, refuse_repeated_nonces=True)


def test_a_request_that_comes_again_as_it_was_is_answered(bank: Bank, package: str) -> None:
    headers = bank.client.signed("GET", tasks_path(package))
    assert [bank.client.send("GET", tasks_path(package), headers).status for _ in range(2)] == [200, 200]


def test_a_nonce_that_comes_again_is_refused_if_asked_for(strict: Bank, package: str) -> None:
    bank = strict
    nonce = hashlib.sha256(package.encode()).hexdigest()[:32]
    assert bank.client.call("GET", CERTIFICATES, bank.client.signed("GET", CERTIFICATES, nonce_str=nonce)).status == 200
    upload = bank.file()
    headers = bank.client.signed("POST", tasks_path(package), upload.meta_bytes(), nonce_str=nonce)
    assert_refused(bank, lambda: bank.client.upload(package, upload, headers), 401, "SIGN_ERROR", "nonce_str重复")


# Uploads that are refused


def changed_meta(**changes: object) -> Callable[[Upload], Upload]:
    return lambda upload: replace(upload, meta=changes)


def changed_content(change: Callable[[bytes], bytes]) -> Callable[[Upload], Upload]:
    return lambda upload: replace(upload, content=change(upload.content))


NOT_DECRYPTED = "平台私钥解密失败"
SHAPE = "字符串规则校验失败"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(changed_meta(sha256="0" * 64), "文件sha256校验失败", id="sha256 of something else"),
        pytest.param(changed_meta(sha256="0" * 63), SHAPE, id="sha256 too short"),
        pytest.param(changed_meta(sha256=None), "“sha256”必填性规则校验失败", id="no sha256"),
        pytest.param(changed_meta(bank_type=None), "“bank_type”必填性规则校验失败", id="no bank_type"),
        pytest.param(changed_meta(bank_type="icbc"), SHAPE, id="bank_type in small letters"),
        pytest.param(changed_meta(bank_type="A" * 33), SHAPE, id="bank_type too long"),
        pytest.param(changed_meta(bank_type=1), SHAPE, id="bank_type not a text"),
        pytest.param(changed_meta(filename="other.csv"), "file的filename与meta不一致", id="two filenames"),
        pytest.param(lambda upload: replace(upload, filename="a.c"), SHAPE, id="filename too short"),
        pytest.param(lambda upload: replace(upload, filename="a" * 129), SHAPE, id="filename too long"),
        pytest.param(lambda upload: replace(upload, filename="a b.csv"), SHAPE, id="filename with a space"),
        pytest.param(lambda upload: replace(upload, filename="文件文件.csv"), SHAPE, id="filename in Chinese"),
        pytest.param(changed_content(lambda content: b""), "文件为空", id="empty"),
        pytest.param(changed_content(lambda content: b"A" * 2_000_001), "文件大小不能超过2MB", id="2,000,001 bytes"),
        pytest.param(changed_content(lambda content: content * 5501), "最多支持上传5500条", id="5,501 rows"),
        pytest.param(changed_content(lambda content: b"\xef\xbb\xbf" + content), "文件格式错误", id="BOM"),
        pytest.param(
            changed_content(lambda content: content.replace(b"\n", b"\r\n")), "文件格式错误", id="carriage return"
        ),
        pytest.param(changed_content(lambda content: content + "号\n".encode()), "文件格式错误", id="not ASCII"),
        pytest.param(changed_content(lambda content: content + b"\n"), "文件中有空行", id="blank last line"),
        pytest.param(changed_content(lambda content: b"\n" + content), "文件中有空行", id="blank first line"),
        pytest.param(
            changed_content(lambda content: content + b"\n" + content), "文件中有空行", id="blank line between"
        ),
        pytest.param(changed_content(lambda content: b"\n"), "文件中有空行", id="a blank line only"),
        pytest.param(
            changed_content(lambda content: content + b"6222020000000001\n"), NOT_DECRYPTED, id="a plain number"
        ),
        pytest.param(
            changed_content(lambda content: content + b"A" * 342 + b"==\n"), NOT_DECRYPTED, id="other ciphertext"
        ),
        pytest.param(changed_content(lambda content: content + b" " + content), NOT_DECRYPTED, id="space in a line"),
        pytest.param(
            lambda upload: replace(upload, serial_no=None), "缺少微信支付平台证书序列号", id="no Wechatpay-Serial"
        ),
        pytest.param(
            lambda upload: replace(upload, serial_no="0" * 40), "Wechatpay-Serial错误", id="other Wechatpay-Serial"
        ),
        pytest.param(
            lambda upload: replace(upload, serial_no=(upload.serial_no or "").lower()),
            "Wechatpay-Serial错误",
            id="Wechatpay-Serial in small letters",
        ),
    ],
)
def test_a_wrong_upload_is_refused(bank: Bank, package: str, change: Callable[[Upload], Upload], message: str) -> None:
    upload = change(bank.file())
    answer = assert_refused(bank, lambda: bank.client.upload(package, upload), 400, "PARAM_ERROR", message)
    detail = answer.value["detail"]
    assert list(detail) == ["field", "value", "issue", "location"]
    assert detail["issue"] == answer.value["message"]
    bank.key.verify(answer)


def test_a_line_encrypted_with_another_key_than_declared_is_refused(bank: Bank, package: str) -> None:
    number = generate_private_key(public_exponent=65537, key_size=2048).public_key()
    upload = replace(bank.file(), content=PublicKey("", number).encrypt("6222020000000001"))
    assert_refused(bank, lambda: bank.client.upload(package, upload), 400, "PARAM_ERROR", NOT_DECRYPTED)


def test_a_filename_that_the_package_has_is_refused(bank: Bank, package: str) -> None:
    bank.put(package)
    upload = bank.file("6222020000000002")
    assert_refused(bank, lambda: bank.client.upload(package, upload), 400, "INVALID_REQUEST", "文件名已存在")


def test_a_filename_that_another_package_has_is_accepted(bank: Bank, package: str) -> None:
    bank.put(package)
    bank.put(str(next(_packages)))


def test_an_upload_that_is_not_multipart_is_refused(bank: Bank, package: str) -> None:
    url, body = tasks_path(package), b"{}"
    headers = bank.client.signed("POST", url, body) | {
        "Content-Type": "application/json",
        "Wechatpay-Serial": bank.key.serial_no,
    }
    assert_refused(
        bank, lambda: bank.client.send("POST", url, headers, body), 400, "PARAM_ERROR", "必须恰好包含meta和file"
    )


@pytest.mark.parametrize(
    "content",
    [pytest.param((b"A" * 344 + b"\n") * 5500, id="5,500 rows"), pytest.param(b"A" * 2_000_000, id="2,000,000 bytes")],
)
def test_a_file_at_its_limits_is_accepted(later_shared: Bank, package: str, content: bytes) -> None:
    upload = Upload(content, "file-0001.csv", later_shared.key.serial_no)
    assert later_shared.client.upload(package, upload).status == 200


@pytest.mark.parametrize("header", ["User-Agent", "Accept"])
def test_an_upload_without_a_needed_header_is_refused(bank: Bank, package: str, header: str) -> None:
    assert_refused(
        bank,
        lambda: bank.client.upload(package, bank.file(), {header: None}),
        400,
        "INVALID_REQUEST",
        f"Http头缺少{header}",
    )


@pytest.mark.parametrize("package_id", ["123", "1" * 17])
def test_a_bad_package_id_is_refused(bank: Bank, package_id: str) -> None:
    answer = assert_refused(
        bank, lambda: bank.client.upload(package_id, bank.file()), 400, "PARAM_ERROR", "package_id错误"
    )
    assert answer.value["detail"]["location"] == "url"


def test_a_package_that_does_not_exist_is_refused(new_bank: NewBank) -> None:
    bank = new_bank(packages=frozenset({"8473295"}))
    assert_refused(bank, lambda: bank.client.upload("8473296", bank.file()), 404, "RESOURCE_NOT_EXISTS", "号码包不存在")
    assert bank.put("8473295")["package_id"] == "8473295"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_refused(bank: Bank, package: str, method: str) -> None:
    url = tasks_path(package)
    assert_refused(bank, lambda: bank.client.call(method, url), 405, "METHOD_NOT_ALLOWED", "不支持的请求方法")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_another_method_for_the_certificates_is_refused(bank: Bank, method: str) -> None:
    assert_refused(bank, lambda: bank.client.call(method, CERTIFICATES), 405, "METHOD_NOT_ALLOWED", "不支持的请求方法")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "url",
    ["/", "/v3", "/v3/certificates/", "/v3/marketing/bank/packages/8473295", "{tasks}/", "{tasks}/1", "/{tasks}"],
)
def test_an_unknown_path_is_refused(bank: Bank, package: str, method: str, url: str) -> None:
    url = url.format(tasks=tasks_path(package))
    assert_refused(bank, lambda: bank.client.call(method, url), 404, "RESOURCE_NOT_EXISTS", "接口不存在")


@pytest.mark.parametrize(
    "query",
    [
        "limit=21",
        "limit=0",
        "limit=-1",
        "limit=ten",
        "limit=",
        "offset=-1",
        "offset=1.5",
        "status=FAILED",
        "filename=a%20b.csv",
        "filename=a.c",
        "page=1",
        "offset=0&offset=1",
    ],
)
def test_a_wrong_query_is_refused(bank: Bank, package: str, query: str) -> None:
    answer = assert_refused(bank, lambda: bank.client.tasks(package, query), 400, "PARAM_ERROR", "")
    assert answer.value["detail"]["location"] == "query"


def test_the_quota_is_refused_when_reached_and_free_again_the_next_day(new_bank: NewBank) -> None:
    bank = new_bank(daily_file_quota=2)
    bank.put("8473295", name="file-0001.csv")
    bank.put("8473296", name="file-0001.csv")
    bank.clock.now += 11 * 3600 + 3599
    third = bank.file(name="file-0003.csv")
    assert_refused(
        bank, lambda: bank.client.upload("8473295", third), 429, "FREQUENCY_LIMIT_EXCEED", "当天上传文件数已达上限"
    )
    bank.clock.now += 1
    assert bank.client.upload("8473295", third).status == 200


def test_an_upload_that_was_refused_costs_no_quota(new_bank: NewBank) -> None:
    bank = new_bank(daily_file_quota=1)
    assert bank.client.upload("8473295", replace(bank.file(), serial_no=None)).status == 400
    bank.put("8473295")


def test_of_two_uploads_of_one_filename_at_once_one_wins(bank: Bank, package: str) -> None:
    upload = replace(bank.file(), content=bank.file().content * 500)
    barrier, answers = Barrier(2), list[Answer]()

    def send() -> None:
        barrier.wait(PATIENCE_SECONDS)
        answers.append(bank.client.upload(package, upload))

    threads = [Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((answer.status, answer.value.get("code", "")) for answer in answers) == [
        (200, ""),
        (400, "INVALID_REQUEST"),
    ]
    assert bank.client.committed()[package] == ["file-0001.csv"]


# Uploads and lists that succeed


def test_an_upload_is_answered_with_its_task(slow_shared: Bank, package: str) -> None:
    slow_shared.clock.now = NOON
    value = slow_shared.put(package)
    assert 1 <= len(value.pop("task_id")) <= 16
    assert value == {
        "package_id": package,
        "filename": "file-0001.csv",
        "create_time": f"{NOON_TEXT}+08:00",
        "update_time": f"{NOON_TEXT}+08:00",
        "status": "PROCESSING",
        "bank_type": "ICBC_DEBIT",
    }


def test_a_list_is_answered_with_its_tasks(slow_shared: Bank, package: str) -> None:
    slow_shared.clock.now = NOON
    task_id = slow_shared.put(package)["task_id"]
    assert slow_shared.client.tasks(package).value == {
        "data": [
            {
                "task_id": task_id,
                "package_id": package,
                "filename": "file-0001.csv",
                "create_time": f"{NOON_TEXT}.000+08:00",
                "update_time": f"{NOON_TEXT}.000+08:00",
                "status": "PROCESSING",
                "bank_type": "ICBC_DEBIT",
            }
        ],
        "total_count": 1,
        "offset": 0,
        "limit": 20,
    }


def test_a_package_without_tasks_is_listed_empty(bank: Bank, package: str) -> None:
    assert bank.client.tasks(package).value == {"data": [], "total_count": 0, "offset": 0, "limit": 20}


def test_task_ids_differ(bank: Bank, package: str) -> None:
    ids = {bank.put(package, name=f"file-{index}.csv")["task_id"] for index in range(3)}
    assert len(ids) == 3


def test_answers_have_a_request_id(bank: Bank, package: str) -> None:
    ids = {bank.client.tasks(package).headers["Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert all(ids)


@pytest.mark.parametrize(("seconds", "status"), [(59.0, "PROCESSING"), (60.0, "FINISHED")])
def test_a_task_is_finished_when_its_time_is_over(slow_shared: Bank, package: str, seconds: float, status: str) -> None:
    slow_shared.put(package)
    slow_shared.clock.now += seconds
    (task,) = slow_shared.client.tasks(package).value["data"]
    assert task["status"] == status
    assert (set(COUNTS) & set(task)) == (set(COUNTS) if status == "FINISHED" else set())


@pytest.mark.parametrize("status", ["PROCESSING", "FINISHED"])
def test_a_list_can_be_of_one_status(slow_shared: Bank, package: str, status: str) -> None:
    slow_shared.put(package, name="FINISHED.csv")
    slow_shared.clock.now += 60
    slow_shared.put(package, name="PROCESSING.csv")
    assert slow_shared.listed(package, f"status={status}") == [f"{status}.csv"]


def test_a_list_can_be_of_one_filename(bank: Bank, package: str) -> None:
    for name in ("file-0001.csv", "file-0002.csv"):
        bank.put(package, name=name)
    assert bank.listed(package, "filename=file-0002.csv") == ["file-0002.csv"]
    assert bank.listed(package, "filename=file-0003.csv") == []


def test_all_numbers_match_unless_asked_otherwise(bank: Bank, package: str) -> None:
    bank.put(package, *(f"62220200{index:08}" for index in range(20)))
    (task,) = bank.client.tasks(package).value["data"]
    assert (task["success_count"], task["fail_count"]) == (20, 0)


def test_the_unmatched_ratio_of_the_numbers_fails_as_their_digests_choose(slow_shared: Bank, package: str) -> None:
    numbers = [f"62220200{index:08}" for index in range(200)]
    digests = [hashlib.sha256(number.encode()).digest() for number in numbers]
    matched = [digest for digest in digests if int.from_bytes(digest[:4], "big") >= 0.3 * 2**32]
    slow_shared.put(package, *numbers)
    slow_shared.clock.now += 60
    (task,) = slow_shared.client.tasks(package).value["data"]
    assert task["success_count"] == len(matched)
    assert task["fail_count"] == 200 - len(matched)
    assert task["success_user_count"] == len(matched) + sum(digest[4] < 13 for digest in matched)
    assert 40 <= task["fail_count"] <= 80


def test_a_task_is_listed_after_the_listing_delay(new_bank: NewBank) -> None:
    bank = new_bank(listing_delay_seconds=5.0)
    bank.put("8473295")
    bank.clock.now += 4
    assert bank.listed("8473295") == []
    bank.clock.now += 1
    assert bank.listed("8473295") == ["file-0001.csv"]


@pytest.fixture(scope="module")
def by_row() -> Iterator[Bank]:
    """A simulator whose offset counts rows, newest first, with seven files in a package."""
    with ExitStack() as stack:
        bank = start(stack, offset_unit="row", newest_first=True)
        for index in range(7):
            bank.put("8473295", name=f"file-{index}.csv")
        yield bank


@pytest.fixture(scope="module")
def by_page() -> Iterator[Bank]:
    """A simulator whose offset counts pages, with seven files in a package."""
    with ExitStack() as stack:
        bank = start(stack)
        for index in range(7):
            bank.put("8473295", name=f"file-{index}.csv")
        yield bank


def files(*indexes: int) -> list[str]:
    return [f"file-{index}.csv" for index in indexes]


def test_lists_are_in_the_order_of_the_uploads(by_page: Bank) -> None:
    assert by_page.listed("8473295") == files(0, 1, 2, 3, 4, 5, 6)


def test_lists_can_be_newest_first(by_row: Bank) -> None:
    assert by_row.listed("8473295") == files(6, 5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, files(0, 1, 2)), (1, files(3, 4, 5)), (2, files(6)), (3, [])], ids=str
)
def test_the_offset_counts_pages(by_page: Bank, offset: int, expected: Sequence[str]) -> None:
    query = f"offset={offset}&limit=3"
    assert by_page.listed("8473295", query) == expected
    value = by_page.client.tasks("8473295", query).value
    assert (value["offset"], value["limit"], value["total_count"]) == (offset, 3, 7)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, files(6, 5, 4)), (1, files(5, 4, 3)), (6, files(0)), (7, [])], ids=str
)
def test_the_offset_can_count_rows(by_row: Bank, offset: int, expected: Sequence[str]) -> None:
    assert by_row.listed("8473295", f"offset={offset}&limit=3") == expected


# The report


def test_the_report_tells_what_has_arrived(new_bank: NewBank) -> None:
    bank = new_bank()
    one, two = bank.file("1001", "1002", "1001", name="file-0001.csv"), bank.file("1003", "1002", name="file-0002.csv")
    tasks = [bank.client.upload("8473295", upload).value for upload in (one, two)]
    bank.client.tasks("8473295")
    bank.client.tasks("8473295", "filename=file-0001.csv")
    bank.client.tasks("8473295", "limit=21")
    assert bank.client.report() == {
        "requests": {"upload": 2, "find": 1, "list": 2, "certificates": 1},
        "accepted_uploads": 2,
        "refused": {"PARAM_ERROR": 1},
        "faults": {},
        "max_concurrent_uploads": 1,
        "whole_bodies": {"file-0001.csv": 1, "file-0002.csv": 1},
        "packages": {
            "8473295": {
                "tasks": [
                    task
                    | {
                        "rows": rows,
                        "bytes": 345 * rows,
                        "sha256": hashlib.sha256(upload.content).hexdigest(),
                        "serial_no": bank.key.serial_no,
                    }
                    for task, rows, upload in zip(tasks, (3, 2), (one, two), strict=True)
                ],
                "lines": 5,
                "distinct_numbers": 3,
                "repeated_numbers": 2,
                "undecryptable": 0,
                "numbers_digest": numbers_digest(["1001", "1002", "1003"]),
            }
        },
    }


def test_the_digest_of_numbers_is_that_of_their_sorted_digests() -> None:
    lines = sorted(hashlib.sha256(number).hexdigest() for number in (b"1001", b"1002"))
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert numbers_digest(["1002", "1001", "1002"]) == expected


def test_the_report_holds_no_number(bank: Bank, package: str) -> None:
    bank.put(package, "6222029988776655")
    assert b"6222029988776655" not in bank.client.send("GET", "/simulator/report").body


def test_the_report_in_process_is_the_one_over_http(bank: Bank, package: str) -> None:
    bank.put(package)
    assert bank.simulator.report() == bank.client.report()


def test_uploads_that_were_received_whole_are_counted(bank: Bank, package: str) -> None:
    name = f"counted-{package}.csv"
    for _ in range(2):
        bank.client.upload(package, bank.file(name=name))
    assert bank.client.report()["whole_bodies"][name] == 2


def bad_line_file(bank: Bank, index: int) -> Upload:
    """Forty lines, of which one does not decrypt."""
    lines = bank.key.encrypt(*(f"62220200{number:08}" for number in range(40))).splitlines(keepends=True)
    lines[index] = b"A" * 342 + b"==\n"
    return replace(bank.file(), content=b"".join(lines))


def assert_one_undecryptable(bank: Bank, package: str) -> None:
    report = bank.client.report()["packages"][package]
    assert (report["lines"], report["distinct_numbers"], report["undecryptable"]) == (40, 39, 1)
    (task,) = report["tasks"]
    assert (task["success_count"], task["fail_count"]) == (39, 1)


def test_a_bad_line_in_the_sample_is_refused_at_the_upload(new_bank: NewBank) -> None:
    bank = new_bank(check="sample")
    upload = bad_line_file(bank, 2)
    assert_refused(bank, lambda: bank.client.upload("8473295", upload), 400, "PARAM_ERROR", NOT_DECRYPTED)


def test_a_bad_line_outside_of_the_sample_is_found_by_the_report(new_bank: NewBank) -> None:
    bank = new_bank(check="sample")
    assert bank.client.upload("8473295", bad_line_file(bank, 1)).status == 200
    assert_one_undecryptable(bank, "8473295")


def test_a_bad_line_is_found_by_the_report_if_lines_are_decrypted_later(new_bank: NewBank) -> None:
    bank = new_bank(check="later")
    assert bank.client.upload("8473295", bad_line_file(bank, 0)).status == 200
    assert_one_undecryptable(bank, "8473295")


def test_a_line_that_is_decrypted_later_counts_as_matched_before(later_shared: Bank, package: str) -> None:
    assert later_shared.client.upload(package, bad_line_file(later_shared, 0)).status == 200
    (task,) = later_shared.client.tasks(package).value["data"]
    assert (task["success_count"], task["fail_count"]) == (40, 0)


def test_reports_can_be_asked_for_during_uploads(new_bank: NewBank) -> None:
    bank = new_bank(check="later")
    content = bank.file().content * 100
    statuses = list[int]()

    def upload() -> None:
        for index in range(15):
            answer = bank.client.upload(str(next(_packages)), replace(bank.file(), content=content * (index % 2 + 1)))
            statuses.append(answer.status)

    threads = [Thread(target=upload) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert bank.client.send("GET", "/simulator/report").status == 200
    assert statuses == [200] * 30
    assert bank.client.report()["accepted_uploads"] == 30


# Keys


def test_the_certificates_decrypt_and_are_in_force(bank: Bank) -> None:
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    certificate = bank.client.certificate(item)
    now = datetime.fromtimestamp(NOON, UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert datetime.fromisoformat(item["effective_time"]) == certificate.not_valid_before_utc
    assert datetime.fromisoformat(item["expire_time"]) == certificate.not_valid_after_utc
    assert item["serial_no"] == f"{certificate.serial_number:040X}"


@pytest.mark.parametrize(("leading_zero", "first"), [(False, "1234567"), (True, "0")])
def test_serials_begin_with_a_zero_only_if_asked_for(new_bank: NewBank, leading_zero: bool, first: str) -> None:
    bank = new_bank(leading_zero_serials=leading_zero, key_mode="both")
    serials = [key.serial_no for key in bank.client.certificates()]
    serials += [bank.simulator.rotate_certificate() for _ in range(40)]
    assert all(re.fullmatch("[0-9A-F]{40}", serial_no) for serial_no in serials)
    assert {serial_no[0] for serial_no in serials} <= set(first)
    assert bank.client.signer.serial_no[0] in "1234567"
    # These see that the serial in each certificate is the one beside it.
    assert [key.serial_no for key in bank.client.certificates()] == serials


def test_the_certificates_are_signed_by_one_of_them(bank: Bank) -> None:
    answer = bank.client.call("GET", CERTIFICATES)
    assert answer.headers["Wechatpay-Serial"] == bank.key.serial_no
    bank.key.verify(answer)


def test_answers_carry_the_time_and_type_of_their_signature(bank: Bank, package: str) -> None:
    headers = bank.client.tasks(package).headers
    assert headers["Wechatpay-Timestamp"] == str(int(NOON))
    assert headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"


@pytest.mark.parametrize("requested", [None, "0" * 40, "PUB_KEY_ID_0119000000012026010100000000000001"])
def test_a_certificate_signs_in_certificate_mode(bank: Bank, package: str, requested: str | None) -> None:
    answer = bank.client.tasks(package, serial_no=requested)
    assert answer.headers["Wechatpay-Serial"] == bank.key.serial_no
    bank.key.verify(answer)


@pytest.fixture(scope="module")
def public_key_bank() -> Iterator[Bank]:
    """A simulator for a merchant that has the public key only."""
    with ExitStack() as stack:
        yield start(stack, key_mode="public-key")


@pytest.fixture(scope="module")
def migrating_bank() -> Iterator[Bank]:
    """A simulator for a merchant that has both a certificate and the public key."""
    with ExitStack() as stack:
        yield start(stack, key_mode="both")


@pytest.mark.parametrize("requested", [None, "0" * 40])
def test_the_public_key_signs_in_public_key_mode(public_key_bank: Bank, package: str, requested: str | None) -> None:
    answer = public_key_bank.client.tasks(package, serial_no=requested)
    assert answer.headers["Wechatpay-Serial"] == public_key_bank.key.serial_no
    public_key_bank.key.verify(answer)


def test_a_public_key_merchant_gets_no_certificates(public_key_bank: Bank) -> None:
    answer = public_key_bank.client.call("GET", CERTIFICATES)
    assert (answer.status, answer.value["code"]) == (404, "RESOURCE_NOT_EXISTS")
    assert "无可用的平台证书" in answer.value["message"]
    public_key_bank.key.verify(answer)


def test_a_public_key_merchant_has_no_apiv3_key(public_key_bank: Bank) -> None:
    assert public_key_bank.simulator.airflow_connection()["password"] == ""


@pytest.mark.parametrize("fixture", ["public_key_bank", "migrating_bank"])
def test_lines_can_be_encrypted_with_the_public_key(request: pytest.FixtureRequest, package: str, fixture: str) -> None:
    bank: Bank = request.getfixturevalue(fixture)
    bank.put(package)
    (task,) = bank.client.report()["packages"][package]["tasks"]
    assert task["serial_no"] == bank.key.serial_no


def test_while_migrating_lines_can_be_encrypted_with_the_certificate(migrating_bank: Bank, package: str) -> None:
    (certificate,) = migrating_bank.client.certificates()
    upload = Upload(certificate.encrypt("1001"), "file-0001.csv", certificate.serial_no)
    assert migrating_bank.client.upload(package, upload).status == 200


def test_while_migrating_a_line_must_fit_the_key_that_is_declared(migrating_bank: Bank, package: str) -> None:
    (certificate,) = migrating_bank.client.certificates()
    upload = replace(migrating_bank.file(), serial_no=certificate.serial_no)
    assert_refused(
        migrating_bank, lambda: migrating_bank.client.upload(package, upload), 400, "PARAM_ERROR", NOT_DECRYPTED
    )


def test_while_migrating_the_key_that_is_asked_for_signs(migrating_bank: Bank, package: str) -> None:
    (certificate,) = migrating_bank.client.certificates()
    for key in (migrating_bank.key, certificate):
        answer = migrating_bank.client.tasks(package, serial_no=key.serial_no)
        assert answer.headers["Wechatpay-Serial"] == key.serial_no
        key.verify(answer)


@pytest.mark.parametrize("requested", [None, "0" * 40])
def test_while_migrating_the_certificate_signs_unless_asked(
    migrating_bank: Bank, package: str, requested: str | None
) -> None:
    (certificate,) = migrating_bank.client.certificates()
    certificate.verify(migrating_bank.client.tasks(package, serial_no=requested))


@pytest.mark.parametrize("kind", ["too-many-requests", "internal-error"])
def test_while_migrating_the_key_that_is_asked_for_signs_errors_too(
    migrating_bank: Bank, package: str, kind: str
) -> None:
    set_faults(migrating_bank, {"kind": kind, "times": 1})
    answer = migrating_bank.client.tasks(package, serial_no=migrating_bank.key.serial_no)
    assert answer.status >= 400
    migrating_bank.key.verify(answer)


def test_the_key_mode_can_change_while_running(new_bank: NewBank) -> None:
    bank = new_bank(key_mode="both")
    bank.simulator.set_key_mode("public-key")
    assert bank.client.call("GET", CERTIFICATES).status == 404
    bank.simulator.set_key_mode("certificates")
    assert bank.client.call("GET", CERTIFICATES).status == 200


def test_a_rotation_with_overlap_keeps_the_old_certificate(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.simulator.rotate_certificate()
    assert [key.serial_no for key in bank.client.certificates()] == [bank.key.serial_no, serial_no]
    bank.put("8473295")
    bank.key.verify(bank.client.tasks("8473295", serial_no=bank.key.serial_no))


def test_after_a_rotation_the_new_certificate_signs_and_encrypts(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.simulator.rotate_certificate()
    new = bank.client.certificates()[-1]
    answer = bank.client.upload("8473295", Upload(new.encrypt("1001"), "file-0001.csv", serial_no))
    assert (answer.status, answer.headers["Wechatpay-Serial"]) == (200, serial_no)
    new.verify(answer)
    new.verify(bank.client.tasks("8473295"))


def test_a_rotated_certificate_is_the_newest_by_its_effective_time(new_bank: NewBank) -> None:
    bank = new_bank()
    serials = [bank.simulator.rotate_certificate() for _ in range(2)]
    listed = bank.client.call("GET", CERTIFICATES).value["data"]
    assert [item["serial_no"] for item in listed] == [bank.key.serial_no, *serials]
    times = [datetime.fromisoformat(item["effective_time"]) for item in listed]
    assert times[0] < times[1] < times[2]


def test_a_rotation_without_overlap_drops_the_old_certificate(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.simulator.rotate_certificate(overlap=False)
    assert [key.serial_no for key in bank.client.certificates()] == [serial_no]
    assert_refused(bank, lambda: bank.client.upload("8473295", bank.file()), 400, "PARAM_ERROR", "Wechatpay-Serial错误")


def test_an_expired_certificate_encrypts_no_more(new_bank: NewBank) -> None:
    bank = new_bank()
    bank.clock.now += 1801 * DAY
    assert_refused(bank, lambda: bank.client.upload("8473295", bank.file()), 400, "PARAM_ERROR", "Wechatpay-Serial错误")


def test_a_rotation_can_be_asked_for_over_http(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.client.send("POST", "/simulator/rotate").value["serial_no"]
    assert [key.serial_no for key in bank.client.certificates()] == [bank.key.serial_no, serial_no]


def test_an_unknown_simulator_path_is_answered_with_those_there_are(bank: Bank) -> None:
    answer = bank.client.send("GET", "/simulator/")
    assert answer.status == 404
    assert "/simulator/report" in answer.value["error"]


# Faults


def check_error(status: int, code: str) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert (answer.status, answer.value["code"]) == (status, code)
        bank.key.verify(answer)

    return check


def check_gateway(status: int) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html")
        assert answer.body.startswith(b"<html>")
        assert not answer.is_signed

    return check


def check_unsigned_error(status: int, code: str) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert (answer.status, answer.value["code"]) == (status, code)
        assert not answer.is_signed

    return check


def check_replay(bank: Bank, package: str) -> None:
    """What was answered to the upload comes to the question for the list, signature and all."""
    answer = bank.client.tasks(package)
    assert answer.value["filename"] == "file-0001.csv"
    assert answer.value.keys().isdisjoint({"data", "total_count"})
    bank.key.verify(answer)
    assert bank.client.tasks(package).headers["Wechatpay-Nonce"] == answer.headers["Wechatpay-Nonce"]


def check_redirect(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.headers["Location"]) == (302, "http://127.0.0.1:1/")


def check_redirect_nowhere(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.headers["Location"]) == (307, "http://[")
    assert answer.body.startswith(b"<html>")


def check_redirect_bomb(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.headers["Content-Encoding"]) == (302, "gzip")
    assert len(answer.body) < 2_000_000
    unpacked = gzip.GzipFile(fileobj=io.BytesIO(answer.body))
    assert sum(len(piece) for piece in iter(lambda: unpacked.read(10_000_000), b"")) == 1_000_000_000


def check_reset(bank: Bank, package: str) -> None:
    with pytest.raises(ConnectionResetError) as caught:
        bank.client.tasks(package)
    assert not isinstance(caught.value, RemoteDisconnected)


def check_drop(bank: Bank, package: str) -> None:
    with pytest.raises(RemoteDisconnected):
        bank.client.tasks(package)


def check_hang(bank: Bank, package: str) -> None:
    begin = time.monotonic()
    with pytest.raises(RemoteDisconnected):
        bank.client.tasks(package)
    assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS


def opened_list(bank: Bank, package: str) -> Any:
    return bank.client.opened("GET", tasks_path(package), bank.client.signed("GET", tasks_path(package)))


def assert_half(response: HTTPResponse) -> None:
    length = int(response.headers["Content-Length"])
    with pytest.raises(IncompleteRead) as caught:
        response.read()
    assert len(caught.value.partial) == length // 2
    assert caught.value.partial.startswith(b'{"data":[')


def check_hang_during(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        begin = time.monotonic()
        assert_half(response)
        assert 0.15 <= time.monotonic() - begin < PATIENCE_SECONDS


def check_truncate(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        assert response.status == 200
        assert_half(response)


def check_slow(bank: Bank, package: str) -> None:
    begin = time.monotonic()
    answer = bank.client.tasks(package)
    assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS
    assert answer.status == 200
    bank.key.verify(answer)


def check_trickle(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        begin = time.monotonic()
        assert [response.read1(100) for _ in range(4)] == [b"{", b'"', b"d", b"a"]
        assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS


@contextmanager
def opened_socket(
    bank: Bank, method: str, url: str, headers: Mapping[str, str | None], body: bytes
) -> Iterator[socket.socket]:
    """A request on a socket of its own, whose answer is still to be read."""
    address = urlsplit(bank.simulator.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS) as connection:
        sent = {"User-Agent": "raw-client", "Accept": "application/json", **headers, "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        connection.sendall(f"{method} {url} HTTP/1.1\r\nHost: {address.netloc}\r\n{lines}\r\n".encode() + body)
        yield connection


def check_trickle_headers(bank: Bank, package: str) -> None:
    url = tasks_path(package)
    with opened_socket(bank, "GET", url, bank.client.signed("GET", url), b"") as connection:
        begin = time.monotonic()
        assert [connection.recv(100) for _ in range(4)] == [b"H", b"T", b"T", b"P"]
        assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS


def check_endless(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        assert response.status == 200
        assert response.read(10_000_000) == b" " * 10_000_000


def check_huge_header(bank: Bank, package: str) -> None:
    with pytest.raises(LineTooLong):
        bank.client.tasks(package)


def check_json_bomb(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert answer.body == b"[" * 1_000_000
    bank.key.verify(answer)


def check_unsigned(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.value["total_count"]) == (200, 1)
    assert not answer.is_signed


def check_tampered(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    with pytest.raises(InvalidSignature):
        bank.key.verify(answer)
    original = answer.body[:-2] + bytes([answer.body[-2] ^ 1]) + answer.body[-1:]
    bank.key.verify(replace(answer, body=original))


def check_stale(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert answer.headers["Wechatpay-Timestamp"] == str(int(NOON) - 600)
    bank.key.verify(answer)


def check_unknown_serial(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert answer.is_signed
    assert answer.headers["Wechatpay-Serial"] != bank.key.serial_no
    with pytest.raises(InvalidSignature):
        bank.key.verify(answer)


def check_signtest(length: int) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert answer.status == 200
        signature = answer.headers["Wechatpay-Signature"]
        assert signature.startswith("WECHATPAY/SIGNTEST/")
        assert len(signature) == length

    return check


def check_expired_certificate(bank: Bank, package: str) -> None:
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    now = datetime.fromtimestamp(NOON, UTC)
    assert bank.client.certificate(item).not_valid_after_utc < now
    assert datetime.fromisoformat(item["expire_time"]) < now


def check_lying_certificates(bank: Bank, package: str) -> None:
    answer = bank.client.call("GET", CERTIFICATES)
    assert [item["serial_no"] for item in answer.value["data"]] == [bank.key.serial_no]
    assert answer.headers["Wechatpay-Serial"] != bank.key.serial_no
    with pytest.raises(InvalidSignature):
        bank.key.verify(answer)


def check_wrong_apiv3_key(bank: Bank, package: str) -> None:
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    with pytest.raises(InvalidTag):
        bank.client.certificate(item)


def check_changing_page(bank: Bank, package: str) -> None:
    for count in (2, 3):
        value = bank.client.tasks(package).value
        names = [task["filename"] for task in value["data"]]
        assert (value["total_count"], names.index("file-0001.csv")) == (count, count - 1)


FAULTS: Mapping[str, Callable[[Bank, str], None]] = {
    "too-many-requests": check_error(429, "FREQUENCY_LIMITED"),
    "quota-reached": check_error(429, "FREQUENCY_LIMIT_EXCEED"),
    "internal-error": check_error(500, "SYSTEM_ERROR"),
    "bad-gateway": check_gateway(502),
    "gateway-401": check_gateway(401),
    "gateway-403": check_gateway(403),
    "gateway-404": check_gateway(404),
    "gateway-407": check_gateway(407),
    "gateway-413": check_gateway(413),
    "unsigned-quota": check_unsigned_error(429, "FREQUENCY_LIMIT_EXCEED"),
    "unsigned-sign-error": check_unsigned_error(401, "SIGN_ERROR"),
    "replay": check_replay,
    "unavailable": check_error(503, "SERVICE_UNAVAILABLE"),
    "forbidden": check_error(403, "NO_AUTH"),
    "accepted": check_error(202, "ACCEPTED"),
    "redirect": check_redirect,
    "redirect-nowhere": check_redirect_nowhere,
    "redirect-bomb": check_redirect_bomb,
    "reset": check_reset,
    "drop": check_drop,
    "hang": check_hang,
    "hang-during": check_hang_during,
    "truncate": check_truncate,
    "slow": check_slow,
    "trickle": check_trickle,
    "trickle-headers": check_trickle_headers,
    "endless": check_endless,
    "huge-header": check_huge_header,
    "json-bomb": check_json_bomb,
    "unsigned": check_unsigned,
    "tampered": check_tampered,
    "stale": check_stale,
    "unknown-serial": check_unknown_serial,
    "signtest": check_signtest(344),
    "signtest-prefix": check_signtest(363),
    "expired-certificate": check_expired_certificate,
    "lying-certificates": check_lying_certificates,
    "wrong-apiv3-key": check_wrong_apiv3_key,
    "changing-page": check_changing_page,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_does_what_it_says(bank: Bank, package: str, kind: str) -> None:
    bank.put(package)
    done = bank.client.report()["faults"].get(kind, 0)
    set_faults(bank, {"kind": kind, "seconds": 0.2})
    FAULTS[kind](bank, package)
    assert bank.client.report()["faults"][kind] > done


@pytest.mark.parametrize("commit", [False, True], ids=["without commit", "with commit"])
@pytest.mark.parametrize("kind", sorted(BEFORE_ANSWER))
def test_a_fault_in_place_of_the_answer_commits_only_if_asked(
    bank: Bank, package: str, kind: str, commit: bool
) -> None:
    set_faults(bank, {"kind": kind, "on": "upload", "seconds": 0.1, "commit": commit})
    try:
        answer = bank.client.upload(package, bank.file())
        assert answer.status != 200 or (kind == "replay" and package.encode() not in answer.body)
    except (HTTPException, OSError):
        assert kind in ("reset", "drop", "hang")
    assert (package in bank.client.committed()) is commit


def test_an_upload_whose_answer_trickles_is_committed(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "trickle-headers", "on": "upload"})
    upload, url = bank.file(), tasks_path(package)
    headers = bank.client.signed("POST", url, upload.meta_bytes()) | upload.headers()
    with opened_socket(bank, "POST", url, headers, upload.body()) as connection:
        assert connection.recv(100) == b"H"
    assert bank.client.committed()[package] == ["file-0001.csv"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - BEFORE_ANSWER - {"trickle-headers"}))
def test_a_fault_that_spoils_the_answer_commits(bank: Bank, package: str, kind: str) -> None:
    set_faults(bank, {"kind": kind, "on": "upload", "seconds": 0.1})
    upload, url = bank.file(), tasks_path(package)
    headers = bank.client.signed("POST", url, upload.meta_bytes()) | upload.headers()
    try:
        with bank.client.opened("POST", url, headers, upload.body()) as response:
            assert response.status == 200
    except LineTooLong:
        assert kind == "huge-header"
    assert bank.client.committed()[package] == ["file-0001.csv"]


def test_an_unsigned_fault_leaves_errors_unsigned_too(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "unsigned"})
    answer = bank.client.tasks(package, "limit=21")
    assert answer.status == 400
    assert not answer.is_signed


def test_a_fault_meets_a_client_behind_a_proxy(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "reset"})
    with pytest.raises(ConnectionResetError):
        bank.client.call("GET", tasks_path(package), {"X-Forwarded-For": "192.0.2.1"})


def test_a_changing_page_changes_in_front_if_the_newest_come_first(new_bank: NewBank) -> None:
    bank = new_bank(newest_first=True)
    bank.put("8473295")
    bank.simulator.add_fault(Fault("changing-page"))
    assert bank.listed("8473295")[1:] == ["file-0001.csv"]


def statuses(bank: Bank, package: str, count: int) -> list[int]:
    return [bank.client.tasks(package).status for _ in range(count)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [500, 500, 500, 500, 500, 500], id="always"),
        pytest.param({"every": 2}, [200, 500, 200, 500, 200, 500], id="every second"),
        pytest.param({"times": 2}, [500, 500, 200, 200, 200, 200], id="twice"),
        pytest.param({"after": 4}, [200, 200, 200, 200, 500, 500], id="after four"),
        pytest.param({"after": 1, "every": 2, "times": 2}, [200, 200, 500, 200, 500, 200], id="all of it"),
    ],
)
def test_a_fault_meets_the_requests_that_it_is_for(
    bank: Bank, package: str, options: Mapping[str, object], expected: list[int]
) -> None:
    set_faults(bank, {"kind": "internal-error"} | dict(options))
    assert statuses(bank, package, 6) == expected


@pytest.mark.parametrize("on", ["any", "upload", "find", "list", "certificates"])
def test_a_fault_meets_the_step_that_it_is_for(bank: Bank, package: str, on: str) -> None:
    set_faults(bank, {"kind": "internal-error", "on": on})
    answers = {
        "upload": bank.client.upload(package, bank.file()),
        "find": bank.client.tasks(package, "filename=file-0001.csv"),
        "list": bank.client.tasks(package),
        "certificates": bank.client.call("GET", CERTIFICATES),
    }
    met = {step for step, answer in answers.items() if answer.status == 500}
    assert met == (set(answers) if on == "any" else {on})


def test_of_two_faults_that_are_due_the_first_happens(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "internal-error", "times": 1}, {"kind": "forbidden", "times": 1})
    assert statuses(bank, package, 3) == [500, 403, 200]


def test_new_faults_take_the_place_of_the_old(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "internal-error"})
    set_faults(bank, {"kind": "forbidden"})
    assert statuses(bank, package, 1) == [403]


def test_faults_can_be_deleted(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "internal-error"})
    answer = bank.client.send("DELETE", "/simulator/faults")
    assert (answer.status, answer.value) == (200, {"faults": 0})
    assert statuses(bank, package, 1) == [200]


def test_a_fault_with_every_field_is_accepted(bank: Bank) -> None:
    faults = [{"kind": "hang", "on": "list", "every": 2, "times": 1, "after": 3, "commit": True, "seconds": 1}]
    answer = bank.client.send("POST", "/simulator/faults", body=json.dumps(faults).encode())
    assert (answer.status, answer.value) == (200, {"faults": 1})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "5",
        "null",
        '{"kind": "reset"}',
        "{}",
        '["reset"]',
        "[{}]",
        "[" * 100_000,
        '[{"kind": "explode"}]',
        '[{"kind": 1}]',
        '[{"kind": "reset", "on": "everything"}]',
        '[{"kind": "reset", "every": 0}]',
        '[{"kind": "reset", "every": 1.5}]',
        '[{"kind": "reset", "every": true}]',
        '[{"kind": "reset", "times": -1}]',
        '[{"kind": "reset", "after": -1}]',
        '[{"kind": "reset", "after": "1"}]',
        '[{"kind": "reset", "commit": "true"}]',
        '[{"kind": "reset", "seconds": -1}]',
        '[{"kind": "reset", "seconds": NaN}]',
        '[{"kind": "reset", "seconds": Infinity}]',
        '[{"kind": "reset", "often": 1}]',
        '[{"kind": "forbidden"}, {"kind": "explode"}]',
    ],
)
def test_bad_faults_are_refused_and_change_nothing(bank: Bank, package: str, body: str) -> None:
    set_faults(bank, {"kind": "internal-error"})
    answer = bank.client.send("POST", "/simulator/faults", body=body.encode())
    assert answer.status == 400
    assert answer.value["error"]
    assert statuses(bank, package, 1) == [500]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("reset", Fault("reset")),
        (
            "drop:on=upload,every=3,commit=true",
            Fault("drop", on="upload", every=3, commit=True),
        ),
        ("hang:seconds=0.5,times=2,after=1", Fault("hang", seconds=0.5, times=2, after=1)),
        ("drop:commit=false", Fault("drop")),
    ],
)
def test_a_fault_can_be_written_as_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text", ["", "explode", "reset:often=1", "reset:every", "reset:every=x", "reset:kind=drop", "drop:commit=yes"]
)
def test_a_fault_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fault(text)


# Starting and ending


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_a_simulator_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"), serve(host=host):
        pass


def test_a_simulator_that_ends_cuts_off_requests_that_hang() -> None:
    with ExitStack() as stack:
        bank = start(stack)
        set_faults(bank, {"kind": "hang"})
        errors = list[BaseException]()

        def ask() -> None:
            try:
                bank.client.tasks("8473295")
            except OSError as failure:
                errors.append(failure)

        thread = Thread(target=ask)
        thread.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not bank.simulator.report()["requests"]["list"]:
            assert time.monotonic() < deadline
        begin = time.monotonic()
        stack.close()
        thread.join()
    assert time.monotonic() - begin < PATIENCE_SECONDS
    assert len(errors) == 1


def test_an_upload_cut_off_half_way_is_none(bank: Bank, package: str, caplog: pytest.LogCaptureFixture) -> None:
    logger, address = logging.getLogger("uvicorn.error"), urlsplit(bank.simulator.base_url)
    logger.addHandler(caplog.handler)
    before = bank.simulator.report()["requests"]["upload"]
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS) as connection:
        head = f"POST {tasks_path(package)} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"half of it")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while bank.simulator.report()["requests"]["upload"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert bank.client.tasks(package).value["total_count"] == 0
    logger.removeHandler(caplog.handler)
    assert not caplog.records
