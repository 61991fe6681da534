# SPDX-License-Identifier: Apache-2.0
"""Which requests the simulator takes for the merchant's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.harness.raw_client import (
    CERTIFICATES,
    authorization,
    tasks_path,
)
from tests.harness.simulators import NOON, Bank, assert_refused, start

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
