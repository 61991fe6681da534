# SPDX-License-Identifier: Apache-2.0
"""Imports that did not go well: what the page says of them, and where it leads from there."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage, TakePicture
from tests.browser.states import COUNTING, REFUSED, WAITING
from tests.browser.test_page import (
    IN_AIRFLOW,
    LANGUAGES,
    PAGE,
    assert_axe_finds_nothing,
    assert_nothing_overflows,
    contrast_of,
)
from tests.harness.waiting import PATIENCE
from tools.ui import Ui

DOCS = "https://docs.example.com/wxbank/"


@pytest.fixture(scope="module", autouse=True)
def bad_imports(ui: Ui) -> None:
    """Imports that failed, stand still, or whose counts are not right, beside those of the demonstration."""
    command = [sys.executable, "-m", "tests.browser.states"]
    subprocess.run(command, env=dict(ui.airflow.env), check=True, timeout=PATIENCE)


def import_of(page: Page, run_id: str) -> Locator:
    return page.locator(f"[data-import][data-run-id='{run_id}']")


def address(run_id: str, dag_id: str = "failing") -> str:
    return f"{PAGE}import?dag_id={dag_id}&run_id={run_id}"


def test_a_failure_is_told_with_what_to_do_and_the_ways_on(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    short = import_of(page, "manual__refused")
    expect(short).to_contain_text("Upload failed")
    expect(short).to_contain_text("by wang.xiaoming")
    expect(short.locator("[data-failure='told']")).to_contain_text("the merchant may not use this product")
    expect(short.locator("[data-failure='told']")).to_contain_text("Correct what WeChat Pay names")
    short.get_by_role("link", name="failing").click()
    told = page.locator("[data-failure='told']")
    expect(told).to_contain_text(REFUSED)
    expect(told).to_contain_text("Correct what WeChat Pay names")
    expect(told).to_contain_text("try 2; not tried again by itself")
    expect(page.locator("[data-fact='user']")).to_contain_text("wang.xiaoming")
    expect(page.locator("[data-file-state='missing']")).to_have_count(5)
    page.get_by_role("combobox").select_option("missing")
    expect(page.locator("[data-file]")).to_have_count(5)
    log = "/dags/failing/runs/manual__refused/tasks/upload?try_number=2"
    expect(told.get_by_role("link", name="Log")).to_have_attribute("href", f"..{log}")
    expect(told.get_by_role("link", name="Retry or clear")).to_have_attribute(
        "href", re.compile("/tasks/upload/details$")
    )
    expect(told.get_by_role("link", name="About errors")).to_have_attribute("href", f"{DOCS}errors.html")


def test_markup_in_an_error_is_text(open_page: OpenPage) -> None:
    page = open_page(address("manual__markup"))
    expect(page.locator("[data-failure='told']")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("main img, main script")).to_have_count(0)


def test_what_failed_without_a_word_is_told_by_airflows_own_state(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    expect(import_of(page, "manual__killed").locator("[data-failure='ended']")).to_contain_text(
        "ended without saying why"
    )
    expect(import_of(page, "scheduled__not_begun").locator("[data-failure='not_begun']")).to_contain_text(
        "before it had begun"
    )
    again = import_of(page, "scheduled__retrying")
    expect(again).to_contain_text("Uploading (will retry)")
    expect(again.locator("[data-failure='told']")).to_contain_text("quota of 6000 files is used up")


def test_what_is_finished_but_not_well_is_a_state_of_its_own(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    states = {
        "manual__good": ("finished", "Finished"),
        "manual__unmatched": ("unmatched", "Finished, 33.7% did not match"),
        "manual__unaccounted": ("unaccounted", "Finished, 37 numbers not accounted for"),
    }
    colours = {}
    for run_id, (state, text) in states.items():
        shown = import_of(page, run_id).locator(f".state[data-state='{state}']")
        expect(shown).to_have_text(text)
        colours[state] = shown.evaluate("one => getComputedStyle(one).color")
    assert colours["finished"] not in (colours["unmatched"], colours["unaccounted"])
    expect(import_of(page, "manual__unaccounted").locator("[data-fact='unaccounted']")).to_contain_text("37")
    charts = page.locator(f"[data-package='{COUNTING}'] [data-chart]")
    expect(charts.nth(0).get_by_role("img")).to_have_attribute("aria-label", re.compile("Match rate of 3 imports"))
    expect(charts.nth(1).get_by_role("img")).to_have_attribute("aria-label", re.compile("Duration of 3 imports"))


def test_what_stands_still_is_told_with_the_time(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    stuck = page.locator(f"[data-import][data-package-id='{WAITING}'] [data-warning='stalled']")
    expect(stuck).to_contain_text(re.compile(r"No progress seen since .*\d\d:\d\d"))
    expect(page.locator("[data-warning='stalled']")).to_have_count(1)


def test_todays_files_are_told(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    expect(page.locator("[data-today='wxbank_default']")).to_contain_text(
        re.compile(r"About [\d,]+ of 6,000 files were sent")
    )
    guest = open_page(PAGE, "guest")
    expect(guest.get_by_text("No import yet.")).to_be_visible()
    expect(guest.locator("[data-today]")).to_have_count(0)


def downloaded(page: Page, kind: str) -> str:
    with page.expect_download() as download:
        page.locator(f"[data-download='{kind}']").click()
    return Path(download.value.path()).read_bytes().decode("utf-8-sig")


def test_what_is_shown_is_downloaded(open_page: OpenPage) -> None:
    page = open_page(address("manual__refused"))
    page.get_by_role("combobox").select_option("missing")
    expect(page.locator("[data-file]")).to_have_count(5)
    rows = list(csv.DictReader(StringIO(downloaded(page, "csv"))))
    assert [row["state"] for row in rows] == ["missing"] * 5
    assert json.loads(downloaded(page, "json"))[0]["filename"] == rows[0]["filename"]
    # A spreadsheet must not take a text of somebody else for a formula.
    page.goto(page.url.replace("manual__refused", "manual__markup"))
    expect(page.locator("[data-file]").first).to_be_visible()
    assert "\n'=1+1.csv," in downloaded(page, "csv").replace("\r", "")
    page.goto(re.sub(r"import\?.*", "", page.url))
    expect(page.locator("[data-import]").first).to_be_visible()
    listed = {row["run_id"]: row for row in csv.DictReader(StringIO(downloaded(page, "csv")))}
    assert listed["manual__unaccounted"]["unaccounted"] == "37"
    assert listed["manual__refused"]["error"] == "Refused"


def test_in_airflows_frame_links_lead_into_airflow_and_out_of_it(open_page: OpenPage) -> None:
    page = open_page(f"{IN_AIRFLOW}{address('manual__refused')}")
    frame = page.frame_locator("iframe")
    with page.context.expect_page() as opened:
        frame.get_by_role("link", name="About errors").click()
    assert opened.value.url in (f"{DOCS}errors.html", "about:blank", "chrome-error://chromewebdata/")
    with page.expect_download():
        frame.locator("[data-download='json']").click()
    frame.get_by_role("link", name="Log").click()
    expect(page).to_have_url(re.compile(r"/dags/failing/runs/manual__refused/tasks/upload\?try_number=2"))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_readable(
    ui: Ui, open_page: OpenPage, take_picture: TakePicture, language: str, theme: str, width: int
) -> None:
    page = open_page(PAGE, language=language, theme=theme, width=width)
    views = {
        "bad-list": PAGE,
        "bad-refused": address("manual__refused"),
        "bad-not-begun": address("scheduled__not_begun"),
        "bad-unmatched": address("manual__unmatched", "counting"),
        "bad-unaccounted": address("manual__unaccounted", "counting"),
        "bad-stalled": address("manual__stalled", "waiting"),
    }
    for name, path in views.items():
        page.goto(f"{ui.airflow.url}{path}")
        expect(page.locator("[data-import]").first).to_be_visible()
        assert_nothing_overflows(page)
        assert_axe_finds_nothing(page)
        assert contrast_of(page)[0][0] >= 4.5, contrast_of(page)[:3]
        take_picture(page, f"{name}-{language}-{theme}-{width}")
