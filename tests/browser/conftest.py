# SPDX-License-Identifier: Apache-2.0
"""One Airflow with imports in every state, and a browser to look at it with."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.harness.waiting import PATIENCE
from tools.ui import Ui, running_ui

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync",
)  # fmt: skip
WAIT_MILLISECONDS = PATIENCE * 1000 / 4

OpenPage = Callable[..., Page]
TakePicture = Callable[..., None]


def pytest_sessionstart() -> None:
    """SIGTERM ends the tests as Ctrl-C does, so that nothing keeps running."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """What ``make ui`` shows, on a port of its own."""
    with running_ui(tmp_path_factory.mktemp("ui")) as ui:
        ui.imports.run_all()
        yield ui


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium that the variable CHROMIUM names, else the first that is there."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.exit(f"there is no {', '.join(BROWSERS)}: apt-get install chromium, or set CHROMIUM to its path", 1)
    expect.set_options(timeout=WAIT_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[f"--{switch}" for switch in SWITCHES])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tokens(ui: Ui) -> dict[str, str]:
    """A session of each user."""
    return {name: ui.airflow.token((name, name)) for name in ("admin", "viewer", "guest")}


@pytest.fixture
def open_page(ui: Ui, browser: Browser, tokens: dict[str, str]) -> Iterator[OpenPage]:
    """Opens a page of Airflow: as a user, in a language, light or dark, of a width. A fault in it fails the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def note_error(message: ConsoleMessage) -> None:
        # A browser tells of an answer without a session, which is meant. Airflow itself answers 500 to who has waited
        # for five seconds to write into SQLite, and its pages ask again.
        is_airflows = "500" in message.text and "/wxbank/" not in message.location["url"]
        if message.type == "error" and "401" not in message.text and not is_airflows:
            faults.append(message.text)

    def note(page: Page) -> None:
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.on("console", note_error)

    def open_one(
        path: str,
        user: str | None = "admin",
        *,
        language: str = "en-US",
        theme: str = "light",
        width: int = 1280,
        height: int = 900,
    ) -> Page:
        context = browser.new_context(
            locale=language,
            color_scheme="dark" if theme == "dark" else "light",
            viewport={"width": width, "height": height},
            timezone_id="Asia/Shanghai",
        )
        contexts.append(context)
        context.set_default_timeout(WAIT_MILLISECONDS)
        if user is not None:
            context.add_cookies([{"name": "_token", "value": tokens[user], "url": ui.airflow.url}])
        # As Airflow's own switch does.
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        page = context.new_page()
        note(page)
        page.goto(f"{ui.airflow.url}{path}")
        return page

    yield open_one
    for context in contexts:
        # A page may be asking still, and nobody answers it any more.
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert not faults


@pytest.fixture
def take_picture() -> TakePicture:
    """Takes a screenshot of the whole page; one for the documentation goes there, too, if IMAGES names the folder."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str, *, for_docs: str | None = None, full: bool = True) -> None:
        paths = [SCREENSHOTS / f"{name}.png"]
        if for_docs is not None and (folder := os.environ.get("IMAGES")):
            paths.append(Path(folder) / f"{for_docs}.png")
        for path in paths:
            page.screenshot(path=path, full_page=full, animations="disabled")

    return take
