# SPDX-License-Identifier: Apache-2.0
"""What the simulator refuses: uploads, packages, queries, methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Barrier, Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from tests.harness.raw_client import (
    CERTIFICATES,
    PATIENCE_SECONDS,
    Answer,
    PublicKey,
    Upload,
    tasks_path,
)
from tests.harness.simulators import NOT_DECRYPTED, Bank, NewBank, assert_refused, new_package


def changed_meta(**changes: object) -> Callable[[Upload], Upload]:
    return lambda upload: replace(upload, meta=changes)


def changed_content(change: Callable[[bytes], bytes]) -> Callable[[Upload], Upload]:
    return lambda upload: replace(upload, content=change(upload.content))


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
    bank.put(new_package())


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
