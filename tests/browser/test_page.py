# SPDX-License-Identifier: Apache-2.0
"""The page "WeChat Pay packages", as its users see it."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Frame, FrameLocator, Locator, Page, Route, expect

from tests.browser.conftest import OpenPage, TakePicture
from tools.ui import Ui
from tools.ui_imports import (
    FAILED,
    FAILED_FILES,
    FINISHED,
    PAST_IMPORTS,
    PROCESSING,
    PROCESSING_FILES,
    PROCESSING_SECONDS,
    SAMPLE,
    UPLOADED_FILES,
    UPLOADING,
    UPLOADING_FILES,
)

PAGE = "/wxbank/"
IN_AIRFLOW = "/plugin/wxbank"
REFRESH_MILLISECONDS = 300_000

SHANGHAI = ZoneInfo("Asia/Shanghai")

LANGUAGES = {"en-US": "WeChat Pay packages", "zh-CN": "微信支付号码包"}


def imports_of(page: Page | FrameLocator, package_id: str) -> Locator:
    """The imports into a package, the newest first."""
    return page.locator(f"[data-import][data-package-id='{package_id}']")


def path_of(ui: Ui, dag_id: str) -> str:
    """The address of a DAG's newest import."""
    found = ui.airflow.get(f"dags/{dag_id}/dagRuns", order_by="-id", limit=1)["dag_runs"][0]
    return f"{PAGE}import?dag_id={dag_id}&run_id={quote(found['dag_run_id'])}"


def assert_nothing_overflows(page: Page) -> None:
    """The page is no wider than its window, and no text is wider than what holds it."""
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1]
    cut_off = page.evaluate("""
        [...document.querySelectorAll('body *')]
            .filter((one) => one.checkVisibility() && one.childElementCount === 0 && one.textContent.trim())
            .filter((one) => getComputedStyle(one).textOverflow !== 'ellipsis' && one.scrollWidth > one.clientWidth + 1)
            .filter((one) => getComputedStyle(one).display !== 'inline')
            .map((one) => one.textContent)
    """)
    assert cut_off == []


def contrast_of(page: Page) -> list[tuple[float, str]]:
    """The contrast of every text with what is behind it, by WCAG 2, and the text; the lowest first."""
    found = page.evaluate("""
        () => {
            const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
            const light = (color) => {
                const [r, g, b] = color.slice(0, 3).map((part) => part / 255)
                    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const behind = (one) => {
                for (let at = one; at; at = at.parentElement) {
                    const color = numbers(getComputedStyle(at).backgroundColor);
                    if (color.length === 3 || color[3] > 0.99) return color;
                }
                return [255, 255, 255];
            };
            return [...document.querySelectorAll('body *')]
                .filter((one) => one.checkVisibility())
                .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
                .map((one) => {
                    const own = numbers(getComputedStyle(one).color);
                    const [a, b] = [light(own), light(behind(one))].sort((x, y) => y - x);
                    return [(a + 0.05) / (b + 0.05), one.textContent.trim()];
                });
        }
    """)
    return sorted((ratio, text) for ratio, text in found)


def assert_axe_finds_nothing(page: Page | Frame) -> None:
    """By axe's rules, of which the best practices are not rules of WCAG: those too."""
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


def test_the_page_is_in_airflows_navigation(open_page: OpenPage, take_picture: TakePicture) -> None:
    page = open_page("/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="WeChat Pay packages").click()
    frame = page.frame_locator("iframe")
    expect(imports_of(frame, FINISHED)).to_have_count(len(PAST_IMPORTS))
    take_picture(page, "in-airflow", for_docs="packages", full=False)


def test_each_state_is_told(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    expect(imports_of(page, FINISHED)).to_have_count(len(PAST_IMPORTS))
    newest, *older = imports_of(page, FINISHED).all()
    expect(newest).to_contain_text("Finished")
    expect(newest).to_contain_text("4 of 4 processed")
    expect(newest.locator("[data-fact='rate']")).to_contain_text("66")
    expect(newest.locator("[data-warning='key']")).to_contain_text("In 1 file not one number matched")
    assert len(older) == len(PAST_IMPORTS) - 1
    for one in older:
        expect(one.locator("[data-fact='rate']")).to_contain_text("98")
        expect(one.locator("[data-warning]")).to_have_count(0)
    processing = imports_of(page, PROCESSING)
    expect(processing).to_contain_text(re.compile(rf"\d+ of {PROCESSING_FILES} processed"))
    expect(processing.locator("[data-fact='expected']")).to_be_visible()
    expect(imports_of(page, UPLOADING)).to_contain_text(re.compile(rf"\d+ of {UPLOADING_FILES} uploaded"))
    failed = imports_of(page, FAILED)
    expect(failed).to_contain_text("Upload failed")
    expect(failed).to_contain_text(f"{UPLOADED_FILES} of {FAILED_FILES} uploaded")


def test_progress_is_shown_as_it_happens(ui: Ui, open_page: OpenPage) -> None:
    page = open_page(PAGE)
    bar = imports_of(page, PROCESSING).get_by_role("progressbar", name="Files")
    begin = int(bar.get_attribute("aria-valuenow") or "")
    tasks = sorted(ui.imports.tasks(PROCESSING), key=lambda task: task.created)
    waiting = [task for task in tasks if task.created > time.time() - PROCESSING_SECONDS]
    assert len(waiting) > 2
    for task in waiting[:2]:
        task.created = time.time() - PROCESSING_SECONDS
    expect(bar).to_have_attribute(
        "aria-valuenow", re.compile(f"^({'|'.join(map(str, range(begin + 2, PROCESSING_FILES)))})$"),
        timeout=REFRESH_MILLISECONDS,
    )  # fmt: skip


def test_files_are_sorted_searched_and_filtered(ui: Ui, open_page: OpenPage) -> None:
    page = open_page(path_of(ui, SAMPLE))
    rows = page.locator("[data-file]")
    expect(rows).to_have_count(4)

    def column(number: int) -> list[str]:
        return [text.strip() for text in page.locator(f"[data-file] td:nth-child({number})").all_inner_texts()]

    page.locator("[data-sort='rows']").click()
    assert column(3) == ["300", "5,500", "5,500", "5,500"]
    expect(page.locator("th", has_text="Rows")).to_have_attribute("aria-sort", "ascending")
    page.locator("[data-sort='rows']").click()
    assert column(3) == ["5,500", "5,500", "5,500", "300"]
    page.locator("[data-sort='file']").click()
    names = column(1)
    page.locator("[data-sort='file']").click()
    assert column(1) == names[::-1]
    search = page.get_by_role("searchbox")
    search.fill(names[2][-12:].upper())
    expect(rows).to_have_count(1)
    expect(page.get_by_text("1 of 4 files")).to_be_visible()
    search.fill("no such file")
    expect(page.get_by_text("No file is like that.")).to_be_visible()
    search.fill("")
    page.get_by_role("combobox").select_option("no-match")
    expect(rows).to_have_count(1)


def shown(page: Page | FrameLocator) -> Locator:
    return page.locator("[data-import]")


def test_imports_are_searched_filtered_and_sorted_and_the_address_keeps_it(ui: Ui, open_page: OpenPage) -> None:
    page = open_page(PAGE)
    summary = page.locator("#summary")
    expect(summary).to_contain_text(re.compile(r"^\d+ imports into \d+ packages: .*1 failed.*numbers, [\d.]+% matched"))
    search = page.get_by_role("searchbox")
    search.fill(SAMPLE.upper())
    expect(shown(page)).to_have_count(len(PAST_IMPORTS))
    expect(summary).to_contain_text(f"{len(PAST_IMPORTS)} imports: ")
    page.get_by_role("combobox", name="State", exact=True).select_option("unmatched")
    expect(shown(page)).to_have_count(1)
    expect(summary).to_contain_text("1 import: 1 finished, many not matched")
    assert page.url.endswith(f"?search={SAMPLE.upper()}&state=unmatched")
    page.reload()
    expect(search).to_have_value(SAMPLE.upper())
    expect(shown(page)).to_have_count(1)
    # Whoever comes back finds the list as it was left.
    shown(page).get_by_role("link").first.click()
    expect(page.locator("[data-file]").first).to_be_visible()
    page.locator("#back").click()
    expect(shown(page)).to_have_count(1)
    search.fill("no such import")
    expect(page.get_by_text("No import is like that.")).to_be_visible()
    page.get_by_role("button", name="Reset").click()
    expect(imports_of(page, UPLOADING)).to_have_count(1)
    assert page.url.endswith(PAGE)
    page.get_by_role("combobox", name="DAG", exact=True).select_option(SAMPLE)
    page.get_by_role("combobox", name="Order", exact=True).select_option("rate")
    expect(shown(page)).to_have_count(len(PAST_IMPORTS))
    expect(shown(page).first).to_have_attribute("data-state", "unmatched")
    expect(shown(page).first).to_contain_text(f"Package {FINISHED}")
    page.get_by_role("combobox", name="Order", exact=True).select_option("numbers")
    expect(shown(page).first).to_contain_text("of 22,000 matched")


@pytest.mark.parametrize("older_first", [False, True])
def test_newer_imports_push_no_other_out_of_the_list(ui: Ui, open_page: OpenPage, older_first: bool) -> None:
    """As if the list had room for three, and two more had begun between two looks."""
    page = open_page("/api/v2/version")
    has_more = False
    newest: list[str] = []

    def answer(route: Route) -> None:
        reply = route.fetch(url=f"{ui.airflow.url}{PAGE}api/imports")
        told = reply.json()
        newest[:] = [told["imports"][0]["run_id"]]
        begin = 0 if has_more else 2
        window = {"imports": told["imports"][begin : begin + 3], "before": begin + 3}
        if before := parse_qs(urlsplit(route.request.url).query).get("before"):
            window = {"imports": told["imports"][int(before[0]) :], "before": None}
        route.fulfill(response=reply, json={**told, **window})

    page.route("**/api/imports*", answer)
    page.goto(f"{ui.airflow.url}{PAGE}?sort=newest")
    expect(shown(page)).to_have_count(3)
    older = page.get_by_role("button", name="Show older imports")
    steps = [lambda: page.get_by_role("button", name="Refresh").click(), older.click]
    everything = len(PAST_IMPORTS) + 3
    for step, count in zip(
        steps[::-1] if older_first else steps, [everything - 2 if older_first else 3, everything], strict=True
    ):
        has_more = has_more or step is steps[0]
        step()
        expect(shown(page)).to_have_count(count)
        if has_more:
            expect(shown(page).first).to_have_attribute("data-run-id", newest[0])
    runs = [one.get_attribute("data-run-id") for one in shown(page).all()]
    assert len(set(runs)) == everything


@pytest.mark.parametrize("field", ["search", "package"])
def test_an_agreement_number_is_not_searched_for(open_page: OpenPage, field: str) -> None:
    """It would be kept in the address, and in the logs of the server."""
    page = open_page(PAGE)
    expect(shown(page).first).to_be_visible()
    number = "202400000000000001"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator(f"#list-{field}").fill(number)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#refreshed")).to_contain_text("Updated")
    page.locator(f"#list-{field}").fill(SAMPLE if field == "search" else FINISHED)
    expect(shown(page)).to_have_count(len(PAST_IMPORTS))
    assert [url for url in [*asked, page.url] if number in url] == []


def test_imports_of_some_days_are_found_in_the_time_zone_of_the_page(ui: Ui, open_page: OpenPage) -> None:
    """In Shanghai an import at 17:00 UTC is of the next day."""
    begun = [run["start_date"] for run in ui.airflow.get(f"dags/{SAMPLE}/dagRuns", limit=100)["dag_runs"]]
    days = {datetime.fromisoformat(begin).astimezone(SHANGHAI).date() for begin in begun}
    page = open_page(f"{PAGE}?dag={SAMPLE}&from={min(days)}&to={max(days)}")
    expect(shown(page)).to_have_count(len(PAST_IMPORTS))
    page.get_by_label("Begun from").fill(str(max(days) + timedelta(1)))
    page.get_by_label("to", exact=True).fill("")
    expect(page.get_by_text("No import is like that.")).to_be_visible()
    page.get_by_label("Begun from").fill("")
    page.get_by_label("to", exact=True).fill(str(min(days) - timedelta(1)))
    expect(page.get_by_text("No import is like that.")).to_be_visible()
    moments = page.evaluate("""
        async () => {
            const { dayBegins } = await import('/wxbank/static/words.js');
            return ['2026-11-26', '2024-02-29'].map(dayBegins);
        }
    """)
    assert moments == [datetime(*day, tzinfo=SHANGHAI).timestamp() for day in ((2026, 11, 26), (2024, 2, 29))]


def test_a_whole_row_and_a_column_of_a_chart_lead_to_the_import(open_page: OpenPage) -> None:
    page = open_page(PAGE)
    bars = imports_of(page, FAILED).locator(".track").first
    expect(bars).to_be_visible()
    box = bars.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page).to_have_url(re.compile("import.*autumn_discount"))
    page.locator("#back").click()
    column = page.locator(f"[data-package='{FINISHED}'] [data-column]").last
    run_id = column.get_attribute("data-column") or ""
    column.click()
    expect(page).to_have_url(re.compile(re.escape(f"run_id={quote(run_id, safe='')}").replace("%20", ".")))
    expect(page.locator("[data-file]").first).to_be_visible()


def test_in_airflows_frame_the_colours_are_airflows_and_the_address_tells_the_search(
    ui: Ui, open_page: OpenPage, take_picture: TakePicture
) -> None:
    page = open_page(IN_AIRFLOW)
    frame = page.frame_locator("iframe")
    state = imports_of(frame, FAILED).locator(".state")
    expect(state).to_contain_text("Upload failed")
    theirs = page.evaluate("""
        () => {
            const probe = document.body.appendChild(document.createElement('i'));
            probe.style.background = 'var(--chakra-colors-failed-subtle)';
            const { backgroundColor } = getComputedStyle(probe);
            probe.remove();
            return backgroundColor;
        }
    """)
    assert state.evaluate("one => getComputedStyle(one).backgroundColor") == theirs
    frame.get_by_role("combobox", name="State", exact=True).select_option("failed")
    expect(page).to_have_url(re.compile(rf"{IN_AIRFLOW}{PAGE}\?state=failed$"))
    page.reload()
    expect(shown(frame).first).to_be_visible()
    expect(shown(frame).locator(".state:not([data-state='failed'])")).to_have_count(0)
    inner = next(one for one in page.frames if PAGE in one.url and one != page.main_frame)
    assert_axe_finds_nothing(inner)
    take_picture(page, "in-airflow-failed", full=False)
    shown(frame).locator("a.open").first.click()
    expect(page).to_have_url(re.compile(rf"{IN_AIRFLOW}{PAGE}import\?dag_id="))


def test_axe_finds_what_is_wrong(open_page: OpenPage) -> None:
    """Otherwise that it finds nothing says nothing."""
    page = open_page(PAGE)
    expect(shown(page).first).to_be_visible()
    page.evaluate(
        "document.querySelector('#list-state').closest('label').replaceWith(document.querySelector('#list-state'))"
    )
    with pytest.raises(AssertionError, match="select-name"):
        assert_axe_finds_nothing(page)


def test_everything_can_be_done_with_the_keyboard(open_page: OpenPage, take_picture: TakePicture) -> None:
    page = open_page(PAGE)
    wanted = imports_of(page, FINISHED).first.locator("a").first
    expect(wanted).to_be_visible()
    tab_to(page, page.get_by_role("searchbox"))
    page.keyboard.type(SAMPLE)
    expect(shown(page)).to_have_count(len(PAST_IMPORTS))
    tab_to(page, page.get_by_role("button", name="Reset"))
    page.keyboard.press("Enter")
    expect(imports_of(page, UPLOADING)).to_have_count(1)
    tab_to(page, wanted)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    take_picture(page, "keyboard-focus", full=False)
    page.keyboard.press("Enter")
    expect(page.locator("[data-file]")).to_have_count(4)
    tab_to(page, page.locator("[data-sort='rows']"))
    page.keyboard.press("Enter")
    expect(page.locator("th", has_text="Rows")).to_have_attribute("aria-sort", "ascending")
    tab_to(page, page.locator("#back"), back=True)
    page.keyboard.press("Enter")
    expect(imports_of(page, FINISHED)).to_have_count(len(PAST_IMPORTS))


def tab_to(page: Page, wanted: Locator, *, back: bool = False) -> None:
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    pytest.fail("the Tab key does not come there")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_readable(
    ui: Ui, open_page: OpenPage, take_picture: TakePicture, language: str, theme: str, width: int
) -> None:
    """In both languages, light and dark, wide and narrow."""
    page = open_page(PAGE, language=language, theme=theme, width=width)
    ours = {"en-US": "import", "zh-CN": "import-zh"}[language] if (theme, width) == ("light", 1280) else None
    views = {
        "list": PAGE,
        "by-time": f"{PAGE}?sort=newest",
        "finished": path_of(ui, SAMPLE),
        "processing": path_of(ui, "spring_discount"),
        "failed": path_of(ui, "autumn_discount"),
        "package": f"{PAGE}package?wxbank_conn_id=wxbank_default&package_id={PROCESSING}",
    }
    for name, path in views.items():
        page.goto(f"{ui.airflow.url}{path}")
        expect(page.get_by_role("heading", level=1)).to_have_text(LANGUAGES[language])
        expect(page.locator("[data-import], [data-file]").first).to_be_visible()
        assert page.locator("html").get_attribute("lang") == ("en" if language == "en-US" else "zh-CN")
        assert_nothing_overflows(page)
        assert_axe_finds_nothing(page)
        assert contrast_of(page)[0][0] >= 4.5, contrast_of(page)[:3]
        take_picture(page, f"{name}-{language}-{theme}-{width}", for_docs=ours if name == "finished" else None)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert (brightness < 100) == (theme == "dark")


def test_it_follows_airflows_theme(open_page: OpenPage, take_picture: TakePicture) -> None:
    page = open_page(IN_AIRFLOW, theme="dark", language="zh-CN")
    frame = page.frame_locator("iframe")
    expect(imports_of(frame, FINISHED).first).to_contain_text("已完成")
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    take_picture(page, "in-airflow-dark", for_docs="packages-dark", full=False)
    page.evaluate("document.documentElement.classList.replace('dark', 'light')")
    expect(frame.locator("html")).to_have_attribute("data-theme", "light")
    take_picture(page, "in-airflow-zh", for_docs="packages-zh", full=False)


def test_who_may_see_no_import_sees_none(ui: Ui, open_page: OpenPage, take_picture: TakePicture) -> None:
    page = open_page(PAGE, "guest")
    expect(page.get_by_text("No import yet.")).to_be_visible()
    expect(page.locator("[data-import]")).to_have_count(0)
    take_picture(page, "guest")
    for path in (path_of(ui, SAMPLE), f"{PAGE}package?wxbank_conn_id=wxbank_default&package_id={FINISHED}"):
        response = page.request.get(ui.airflow.url + path.replace(PAGE, f"{PAGE}api/"))
        assert response.status in (403, 404)
        assert SAMPLE not in response.text()


def test_who_may_read_dags_but_no_connection_sees_imports_alone(ui: Ui, open_page: OpenPage) -> None:
    page = open_page(PAGE, "viewer")
    expect(imports_of(page, FINISHED)).to_have_count(len(PAST_IMPORTS))
    expect(page.locator("#ask")).to_be_hidden()
    address = f"{ui.airflow.url}{PAGE}api/package?wxbank_conn_id=wxbank_default&package_id={FINISHED}"
    assert page.request.get(address).status == 403


def test_without_a_session_there_is_nothing(ui: Ui, open_page: OpenPage) -> None:
    addresses = (PAGE, f"{PAGE}import", f"{PAGE}static/page.js", f"{PAGE}api/imports", f"{PAGE}api/package")
    assert [requests.get(ui.airflow.url + path, timeout=30).status_code for path in addresses] == [401] * 5
    page = open_page(PAGE, None)
    expect(page).to_have_url(re.compile(r"/auth/login.*next="))
    expect(page.locator("[data-import]")).to_have_count(0)


def test_a_task_links_to_its_import(ui: Ui, open_page: OpenPage, take_picture: TakePicture) -> None:
    found = ui.airflow.get(f"dags/{SAMPLE}/dagRuns", order_by="-id", limit=1)["dag_runs"][0]
    page = open_page(f"/dags/{SAMPLE}/runs/{found['dag_run_id']}/tasks/finished/details")
    link = page.get_by_role("link", name="WeChat Pay import")
    expect(link).to_be_visible()
    expect(page.get_by_role("link", name="WeChat Pay merchant platform")).to_be_visible()
    take_picture(page, "task-links", full=False)
    page.goto(link.get_attribute("href") or "")
    frame = page.frame_locator("iframe")
    expect(frame.locator("[data-file]")).to_have_count(4)
    frame.get_by_role("link", name="Open the DAG run").click()
    expect(page).to_have_url(re.compile(rf"/dags/{SAMPLE}/runs/"))


def frame_it(page: Page, address: str, href: str) -> FrameLocator:
    """Show the page in a frame as that of Airflow 3.1 and 3.2 is: it begins with the list, and lets no download out."""
    body = f"<iframe src='{href}' sandbox='allow-scripts allow-same-origin allow-forms' width=1200 height=800></iframe>"
    page.route(re.compile(re.escape(address)), lambda route: route.fulfill(body=body, content_type="text/html"))
    return page.frame_locator("iframe")


def test_in_the_frame_of_older_airflow_links_lead_there_and_downloads_come(ui: Ui, open_page: OpenPage) -> None:
    page = open_page("/api/v2/version")
    frame = frame_it(page, IN_AIRFLOW, PAGE)
    page.goto(f"{ui.airflow.url}{IN_AIRFLOW}{path_of(ui, SAMPLE)}")
    expect(frame.locator("[data-file]")).to_have_count(4)
    with page.expect_download():
        frame.locator("[data-download='csv']").click()
    frame.locator("#back").click()
    expect(imports_of(frame, FINISHED)).to_have_count(len(PAST_IMPORTS))
    frame.get_by_role("link", name="All of the package").first.click()
    expect(page).to_have_url(re.compile(rf"{IN_AIRFLOW}{PAGE}package\?"))
    page.reload()
    expect(frame.locator("#package")).to_be_visible()


def test_behind_a_path_airflows_address_has_it_twice(ui: Ui, open_page: OpenPage) -> None:
    """As Airflow's own frame writes it, and goes by it."""
    page = open_page("/api/v2/version")
    page.route("**/behind/wxbank/**", lambda route: route.continue_(url=route.request.url.replace("/behind/", "/")))
    frame = frame_it(page, f"/behind{IN_AIRFLOW}", f"/behind{PAGE}")
    page.goto(f"{ui.airflow.url}/behind{IN_AIRFLOW}")
    state = frame.get_by_role("combobox", name="State", exact=True)
    state.select_option("failed")
    expect(page).to_have_url(f"{ui.airflow.url}/behind{IN_AIRFLOW}/behind{PAGE}?state=failed")
    page.reload()
    expect(state).to_have_value("failed")


def test_a_package_that_was_filled_elsewhere_is_shown(open_page: OpenPage, take_picture: TakePicture) -> None:
    page = open_page(PAGE)
    page.locator("#ask-connection").fill("wxbank_default")
    page.locator("#ask-package").fill(FINISHED)
    page.get_by_role("button", name="Show", exact=True).click()
    files = sum(-(-rows // 5_500) for _, rows in PAST_IMPORTS)
    expect(page.locator("[data-file]")).to_have_count(files)
    take_picture(page, "package-elsewhere")


def test_a_package_that_cannot_be_asked_for_is_told(open_page: OpenPage, take_picture: TakePicture) -> None:
    page = open_page(f"{PAGE}package?wxbank_conn_id=nobodys&package_id={FINISHED}")
    expect(page.locator("[data-question='asking'], [data-question='answered']")).to_be_visible()
    expect(page.locator("[data-warning='failure']")).to_contain_text("there is no connection nobodys")
    expect(page.locator("[data-files]")).to_be_hidden()
    take_picture(page, "package-not-answered")


def test_what_could_not_be_read_is_told_and_not_shown_as_0(open_page: OpenPage, take_picture: TakePicture) -> None:
    """As when an XCom backend keeps records elsewhere."""
    page = open_page("/api/v2/version")

    def forget(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        kept = ("dag_id", "run_id", "run_state", "state", "steps", "begin", "end")
        told["imports"] = [
            {name: one[name] for name in kept if name in one} | {"unreadable": 3} for one in told["imports"]
        ]
        route.fulfill(response=answer, json={**told, "unreadable": 1})

    page.route("**/api/imports*", forget)
    page.goto(page.url.replace("/api/v2/version", PAGE))
    finished = page.locator("[data-import][data-state='finished']").first
    expect(finished.locator("[data-warning='unreadable']")).to_contain_text("3 records could not be read here")
    expect(finished).to_contain_text("Finished")
    expect(finished.locator(".bar .value").first).to_have_text("not known")
    expect(page.locator("[data-import]").get_by_text(re.compile(r"\b0 of|NaN|undefined"))).to_have_count(0)
    expect(page.locator("#imports > [data-warning='unreadable']")).to_contain_text("1 record could not be read here")
    take_picture(page, "unreadable")
