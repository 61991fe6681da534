# SPDX-License-Identifier: Apache-2.0
"""The connection form of Airflow: filled in, saved, read back, tested."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from airflow_provider_wxbank.get_provider_info import FIELDS
from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, serve
from tests.browser.conftest import OpenPage, TakePicture
from tests.harness.airflow_home import airflow
from tests.harness.ports import free_ports
from tests.harness.waiting import PATIENCE
from tests.vectors import VECTORS
from tools.ui import Ui

OTHER_KEY = VECTORS["keys"]["platform_1_private"]
OTHER_PUBLIC_KEY = VECTORS["keys"]["wechatpay_public_key"]


@dataclass(frozen=True, slots=True)
class Api:
    """Airflow's REST API, as its pages use it."""

    url: str
    headers: dict[str, str]

    def post(self, path: str, value: Any) -> requests.Response:
        return requests.post(f"{self.url}/api/v2/{path}", json=value, headers=self.headers, timeout=PATIENCE)

    def delete(self, path: str) -> None:
        requests.delete(f"{self.url}/api/v2/{path}", headers=self.headers, timeout=PATIENCE)


@pytest.fixture
def api(ui: Ui, tokens: dict[str, str]) -> Api:
    return Api(ui.airflow.url, {"Authorization": f"Bearer {tokens['admin']}"})


@pytest.fixture(scope="module")
def migrating() -> Iterator[Simulator]:
    """A simulator in which both kinds of platform key are in use."""
    with serve(SimulatorSettings(key_mode="both", processing_seconds=0)) as simulator:
        yield simulator


def stored(ui: Ui, conn_id: str) -> dict[str, Any]:
    """A connection as Airflow's database has it."""
    command = airflow("connections", "get", conn_id, "-o", "json")
    shown = subprocess.run(command, env=ui.airflow.env, capture_output=True, text=True, check=True, timeout=PATIENCE)
    [connection] = json.loads(shown.stdout[shown.stdout.index("[{") :])
    return dict(connection)


def field(page: Page, name: str) -> Locator:
    return page.locator(f"[name='element_{name}']")


def begin_connection(page: Page, conn_id: str) -> None:
    page.get_by_role("button", name="Add Connection").click()
    page.locator("[name='connection_id']").fill(conn_id)
    page.get_by_role("combobox").last.fill("WeChat Pay")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Merchant id (mchid)")).to_be_visible()


def show_extra_fields(page: Page) -> None:
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(field(page, "merchant_serial_no")).to_be_visible()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def row(page: Page, conn_id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_text(conn_id, exact=True))


def edit(page: Page, conn_id: str) -> None:
    row(page, conn_id).get_by_role("button", name="Edit Connection").click()
    expect(page.get_by_text("Merchant id (mchid)")).to_be_visible()


def test_a_connection_survives_the_form(
    ui: Ui, api: Api, migrating: Simulator, open_page: OpenPage, take_picture: TakePicture
) -> None:
    """Filled in, saved, read back; opened and saved again, when the form knows the keys as stars only."""
    wanted = migrating.airflow_connection()
    port = urlsplit(migrating.base_url).port
    page = open_page("/connections", height=1500)
    begin_connection(page, "by_form")
    for name, placeholder in [("host", "https://api.mch.weixin.qq.com"), ("login", "1900000001")]:
        expect(page.locator(f"[name='{name}']")).to_have_attribute("placeholder", placeholder)
    for name in ("host", "login", "password"):
        page.locator(f"[name='{name}']").fill(wanted[name])
    expect(page.locator("[name='password']")).to_have_attribute("type", "password")
    page.locator("[name='port']").fill(str(port))
    assert page.locator("[name='schema']").count() == 0
    show_extra_fields(page)
    for name, label, kind, help_text in FIELDS:
        expect(page.get_by_text(label, exact=True)).to_be_visible()
        expect(page.get_by_text(help_text)).to_be_visible()
        if kind == "multiline":
            assert field(page, name).evaluate("element => element.tagName") == "TEXTAREA"
    for name, value in wanted["extra"].items():
        field(page, name).fill(value)
    field(page, "read_timeout").fill("7.5")
    field(page, "daily_file_quota").fill("5000")
    take_picture(page, "form")
    save(page)
    # Airflow's form writes numbers as texts, too.
    expected = {**wanted["extra"], "read_timeout": "7.5", "daily_file_quota": "5000"}
    first = stored(ui, "by_form")
    assert {name: value for name, value in first["extra_dejson"].items() if value is not None} == expected
    standard = ("host", "login", "password")
    assert [first[name] for name in standard] == [wanted[name] for name in standard]
    assert int(first["port"]) == port

    edit(page, "by_form")
    show_extra_fields(page)
    expect(field(page, "merchant_private_key")).to_have_value("***")
    # A public key is no secret, and an administrator wants to compare it.
    expect(field(page, "wechatpay_public_key")).to_have_value(wanted["extra"]["wechatpay_public_key"])
    page.set_viewport_size({"width": 1280, "height": 1700})
    expect(page.locator("[name='host']")).to_be_hidden()
    expect(page.get_by_text("Connection has been successfully created")).to_be_hidden()
    take_picture(page, "form-edited", for_docs="connection-form", full=False)
    page.get_by_role("button", name="Standard Fields").click()
    page.locator("[name='description']").fill("edited")
    save(page)
    second = stored(ui, "by_form")
    assert second["description"] == "edited"
    assert (second["extra_dejson"], second["password"]) == (first["extra_dejson"], first["password"])

    row(page, "by_form").get_by_role("button", name="Test Connection").click()
    expect(page.get_by_text("are accepted. Answers: they verify")).to_be_visible()
    take_picture(page, "form-test-success", full=False)
    api.delete("connections/by_form")


def test_a_pin_is_hidden_masked_and_kept(ui: Ui, api: Api, open_page: OpenPage) -> None:
    """Of an HSM's user; the form knows it as stars only when it is opened again, and the URI, which may have a PIN."""
    pin = "pin-20260117-4711"
    uri = "pkcs11:token=bank;object=merchant?module-path=/usr/lib/softhsm/libsofthsm2.so"
    wanted = {"merchant_serial_no": "5A" * 20, "merchant_private_key_uri": uri, "merchant_private_key_pin": pin}
    page = open_page("/connections", height=1500)
    begin_connection(page, "by_pin")
    page.locator("[name='login']").fill("1900000001")
    show_extra_fields(page)
    expect(field(page, "merchant_private_key_pin")).to_have_attribute("type", "password")
    for name, value in wanted.items():
        field(page, name).fill(value)
    save(page)
    first = stored(ui, "by_pin")["extra_dejson"]
    assert {name: value for name, value in first.items() if value is not None} == wanted

    page = open_page("/connections", height=1500)
    edit(page, "by_pin")
    show_extra_fields(page)
    expect(field(page, "merchant_serial_no")).to_have_value(wanted["merchant_serial_no"])
    for name in ("merchant_private_key_pin", "merchant_private_key_uri"):
        expect(field(page, name)).to_have_value("***")
    assert pin not in page.content()
    page.get_by_role("button", name="Standard Fields").click()
    page.locator("[name='description']").fill("edited")
    save(page)
    second = stored(ui, "by_pin")
    assert (second["description"], second["extra_dejson"]) == ("edited", first)
    shown = requests.get(f"{api.url}/api/v2/connections/by_pin", headers=api.headers, timeout=PATIENCE)
    assert wanted["merchant_serial_no"] in shown.text
    assert pin not in shown.text
    api.delete("connections/by_pin")


def test_the_test_button_names_what_is_wrong(
    api: Api, migrating: Simulator, open_page: OpenPage, take_picture: TakePicture
) -> None:
    connection = migrating.airflow_connection()
    extra = json.dumps({**connection["extra"], "merchant_serial_no": "AB" * 20})
    port = urlsplit(migrating.base_url).port
    assert api.post("connections", {**connection, "connection_id": "wrong", "extra": extra, "port": port}).ok
    page = open_page("/connections")
    row(page, "wrong").get_by_role("button", name="Test Connection").click()
    told = page.get_by_text(f"merchant_serial_no {'AB' * 20} is not a certificate of merchant 1900000001")
    expect(told).to_be_visible()
    take_picture(page, "form-test-failure", full=False)
    api.delete("connections/wrong")


def test_the_rest_api_tells_failures_apart(api: Api, migrating: Simulator) -> None:
    right = migrating.airflow_connection()

    def told(changes: dict[str, Any] | None = None, **fields: Any) -> tuple[bool, str]:
        extra = {**right["extra"], **(changes or {})}
        body = {**right, **fields, "connection_id": "not_stored", "extra": json.dumps(extra)}
        answer = api.post("connections/test", body).json()
        return answer["status"], answer["message"]

    def assert_refused(begin: str, changes: dict[str, Any] | None = None, **fields: Any) -> None:
        works, message = told(changes, **fields)
        assert not works
        assert re.match(begin, message), message

    [closed] = free_ports(1)
    key_id = right["extra"]["wechatpay_public_key_id"]
    serial = right["extra"]["merchant_serial_no"]
    works, message = told()
    assert works, message
    assert "requests of merchant 1900000001 are accepted" in message
    assert_refused(
        f"merchant_private_key is not the key of merchant_serial_no {serial}[.:]", {"merchant_private_key": OTHER_KEY}
    )
    assert_refused(
        f"merchant_serial_no {'AB' * 20} is not a certificate of merchant 1900000001[.:]",
        {"merchant_serial_no": "AB" * 20},
    )
    assert_refused(f"wechatpay_public_key is not WeChat Pay's {key_id}:", {"wechatpay_public_key": OTHER_PUBLIC_KEY})
    assert_refused("No connection to http:", host=f"http://127.0.0.1:{closed}")
    assert_refused(
        r"merchant_private_key is \*\*\*, what Airflow shows in the place of a secret", {"merchant_private_key": "***"}
    )
    with ExitStack() as stack:
        ahead = SimulatorSettings(key_mode="both", clock=lambda: time.time() + 600)
        right = stack.enter_context(serve(ahead)).airflow_connection()
        assert_refused("Compare this machine's clock with WeChat Pay's")


def test_a_worker_can_test_it_too(api: Api, migrating: Simulator) -> None:
    """Airflow 3.3's test that runs where the tasks run."""
    connection = migrating.airflow_connection()
    body = {**connection, "connection_id": "not_stored", "extra": json.dumps(connection["extra"])}
    answer = api.post("connections/enqueue-test", body)
    assert answer.status_code == 202, answer.text
    headers = {**api.headers, "Airflow-Connection-Test-Token": answer.json()["token"]}
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = requests.get(f"{api.url}/api/v2/connections/enqueue-test", headers=headers, timeout=30).json()
        if seen["state"] not in ("pending", "queued", "running"):
            break
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    assert seen["state"] == "success", seen
    assert "are accepted. Answers: they verify" in seen["result_message"]
