# SPDX-License-Identifier: Apache-2.0
"""The page "WeChat Pay packages" in Airflow's own API server: its application, database and authorization."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_wxbank._compat import HAS_PAGE
from airflow_provider_wxbank.packages.quota import day_of
from airflow_provider_wxbank.reporting.record import FINISHED, KEY, UPLOADED, VERSION, Sums
from airflow_provider_wxbank.ui import elsewhere
from tests.airflow.page_data import HIDDEN_DAG, PARTS, Left, add_run, change_xcoms, who_lacks, whole_import
from tests.conftest import PACKAGE, NewSimulator, numbers

pytestmark = [
    pytest.mark.skipif(not HAS_PAGE, reason="Airflow before 3.1 has no place for the page"),
    pytest.mark.filterwarnings("ignore"),  # Airflow's own
]

LACKING = [who_lacks(part, which) for which in ("some", "any") for part in PARTS]
USERS = ",".join(["admin:admin", "op:op", "viewer:viewer", *(f"{user}:viewer" for user in LACKING)])

PATIENCE = 120.0
"""Seconds that only a failure waits for."""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def airflow_app() -> Iterator[Any]:
    """Airflow's API server application, with its database made and three users."""
    options = {
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.airflow.page_users.UsersOfParts",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": f"{os.environ['AIRFLOW_HOME']}/passwords.json",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests alone, which is long enough for its purpose",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            patch.setenv(name, value)
        Path(options["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).write_text(
            json.dumps({user.split(":")[0]: "secret" for user in USERS.split(",")})
        )
        from airflow.api_fastapi.app import create_app, purge_cached_app
        from airflow.utils.db import initdb

        initdb()
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture(scope="module")
def token_of(airflow_app: Any) -> Callable[[str], str]:
    """Signs a user in, once."""
    from fastapi.testclient import TestClient

    @cache
    def of(user: str) -> str:
        client = TestClient(airflow_app, base_url="http://testserver")
        token: str = client.post("/auth/token", json={"username": user, "password": "secret"}).json()["access_token"]
        return token

    return of


@pytest.fixture(scope="module")
def ask_as(airflow_app: Any, token_of: Callable[[str], str]) -> Callable[[str | None], Ask]:
    """Gives, for a user or nobody, what asks the page."""
    from fastapi.testclient import TestClient

    def of(user: str | None) -> Ask:
        client = TestClient(airflow_app, base_url="http://testserver")
        if user is not None:
            # As the browser does, in the page's frame.
            client.cookies.set("_token", token_of(user))
        return lambda path, **params: client.get(f"/wxbank/{path}", params=params)

    return of


@pytest.fixture(autouse=True)
def empty_database(airflow_app: Any) -> Iterator[None]:
    """Every test begins without DAGs."""
    yield
    from airflow.models.connection import Connection
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        for model in (DagRun, DagModel, Connection):
            session.execute(delete(model))


@pytest.fixture(scope="module")
def served(airflow_app: Any) -> Iterator[str]:
    """The address of the application, behind a server as Airflow runs it."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = uvicorn.Server(uvicorn.Config(airflow_app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def answered(ask: Ask, **question: str) -> dict[str, Any]:
    """What is shown of a package once WeChat Pay was asked."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = ask("api/package", **question)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if found["question"] == "answered":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def by_run(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {one["run_id"]: one for one in answer.json()["imports"]}


PATHS = ["", "import", "package", "static/page.js", "api/imports", "api/import?dag_id=a&run_id=b"]


@pytest.mark.parametrize("path", [*PATHS, "api/package?wxbank_conn_id=a&package_id=8473295"])
def test_without_a_session_there_is_nothing(ask_as: Any, path: str) -> None:
    assert ask_as(None)(path).status_code == 401


def test_who_opens_the_page_without_a_session_signs_in_and_comes_back(airflow_app: Any) -> None:
    from fastapi.testclient import TestClient

    browser = TestClient(airflow_app, base_url="http://testserver", headers={"Accept": "text/html,*/*"})
    path = "/wxbank/import?dag_id=a&run_id=b%2Bc"
    answer = browser.get(path, follow_redirects=False)
    assert answer.status_code == 303
    where = urlsplit(answer.headers["location"])
    assert (where.netloc, where.path) == ("", "/api/v2/auth/login")
    # Airflow takes the address for one of its own, and its sign-in comes back to the whole of it.
    signing_in = browser.get(answer.headers["location"], follow_redirects=False)
    assert signing_in.status_code == 307
    assert parse_qs(urlsplit(signing_in.headers["location"]).query) == {"next": [path]}
    assert browser.get("/wxbank/static/page.js", follow_redirects=False).status_code == 401
    data = TestClient(airflow_app, base_url="http://testserver", headers={"Accept": "application/json"})
    assert data.get("/wxbank/api/imports", follow_redirects=False).status_code == 401


def test_a_viewer_sees_every_import(ask_as: Any) -> None:
    begin = time.time() - 9000
    add_run("import_users", "manual__1", begin, whole_import(PACKAGE, begin, 2), "success")
    add_run(HIDDEN_DAG, "manual__2", begin, whole_import(PACKAGE, begin, 2), "success")
    assert set(by_run(ask_as("viewer")("api/imports"))) == {"manual__1", "manual__2"}


@pytest.mark.parametrize("part", PARTS)
def test_who_may_not_read_a_part_of_a_dag_sees_no_import_of_it(ask_as: Any, part: str) -> None:
    begin = time.time() - 9000
    for index in range(5):
        add_run(f"import_{index}", f"manual__{index}", begin, whole_import(PACKAGE, begin, 2), "success")
    add_run(HIDDEN_DAG, "manual__5", begin, whole_import(PACKAGE, begin, 2), "success")
    ask = ask_as(who_lacks(part))
    seen = ask("api/imports")
    assert set(by_run(seen)) == {f"manual__{index}" for index in range(5)}
    assert HIDDEN_DAG not in seen.text
    assert ask("api/import", dag_id="import_0", run_id="manual__0").status_code == 200
    hidden = ask("api/import", dag_id=HIDDEN_DAG, run_id="manual__5")
    absent = ask("api/import", dag_id=HIDDEN_DAG, run_id="manual__6")
    assert (hidden.status_code, hidden.text) == (absent.status_code, absent.text) == (404, absent.text)


@pytest.mark.parametrize("part", PARTS)
def test_who_may_not_read_a_part_of_any_dag_sees_nothing(ask_as: Any, part: str) -> None:
    begin = time.time() - 9000
    add_run("import_users", "manual__1", begin, whole_import(PACKAGE, begin, 2), "success")
    ask = ask_as(who_lacks(part, "any"))
    assert ask("api/imports").status_code == 403
    assert ask("api/import", dag_id="import_users", run_id="manual__1").status_code == 403


def test_every_state_of_an_import_is_told(ask_as: Any) -> None:
    begin = time.time() - 1000
    export, upload, wait = whole_import(PACKAGE, begin, 8)
    todo: dict[str, Any] = {"state": None, "record": None, "rows": (), "begin": None, "end": None}
    half = {**(upload.record or {}), "files": 4, "rows": 22_000}
    seen = {**(wait.record or {}), "counts": None, "processing": 6}
    runs: dict[str, list[Left]] = {
        "exporting": [replace(export, state="running", record={"bank_type": "ICBC_DEBIT"}), replace(upload, **todo)],
        "exported": [export, replace(upload, **todo), replace(wait, **todo)],
        "uploading": [export, replace(upload, state="running", record=half, end=None), replace(wait, **todo)],
        "uploaded": [export, upload],
        "processing": [export, upload, replace(wait, state="deferred", record=seen, rows=())],
        "finished": [export, upload, wait],
        "failed": [
            export,
            replace(upload, state="failed", record=half),
            replace(wait, **todo | {"state": "upstream_failed"}),
        ],
    }  # fmt: skip
    for state, tasks in runs.items():
        add_run("import_users", state, begin, tasks)
    found = by_run(ask_as("viewer")("api/imports"))
    assert {run_id: one["state"] for run_id, one in found.items()} == {state: state for state in runs}
    assert {one.get("package_id") for run_id, one in found.items() if not run_id.startswith("export")} == {PACKAGE}
    assert (found["uploading"]["uploaded"], found["uploading"]["files"]) == (4, 8)
    assert (found["processing"]["finished"], found["processing"]["files"]) == (2, 8)
    assert found["processing"]["expected"] > begin
    assert found["finished"]["success_count"] == 40_000
    assert found["failed"]["steps"] == {"export": "done", "upload": "failed", "wait": "failed"}


def test_an_import_opens_to_its_files(ask_as: Any) -> None:
    begin = float(int(time.time()) - 9000)
    add_run("import_users", "manual__1", begin, whole_import(PACKAGE, begin, 600, failed_files=1), "success")
    (one,) = ask_as("viewer")("api/import", dag_id="import_users", run_id="manual__1").json()["imports"]
    columns = one["file_columns"]
    assert (len(columns["filename"]), one["failed_files"]) == (600, 1)
    name, task_id, rows, uploaded, finished, *counts = (values[1] for values in columns.values())
    assert re.fullmatch(r"import-\d+-0{31}1\.csv", name)
    assert (rows, uploaded, finished, counts) == (5500, begin + 60, begin + 2475, [5000, 500, 5100])
    assert task_id not in (columns["task_id"][0], "")
    assert [columns[name][0] for name in ("success_count", "fail_count", "success_user_count")] == [0, 5500, 0]


def failed_import(begin: float, **changes: Any) -> list[Left]:
    """An import whose upload failed after 3 of 5 files."""
    export, upload, wait = whole_import(PACKAGE, begin, 5)
    told = {"error": "Refused", "kind": "Refused", "text": "<b>no</b>", "is_lasting": True, "at": int(begin) + 100}
    names = [str(row[0]) for row in upload.rows]
    failed = replace(
        upload, state="failed", rows=upload.rows[:3], missing=names[3:], failure={**told, **changes}, try_number=2,
        max_tries=3,
    )  # fmt: skip
    todo: dict[str, Any] = {"state": "upstream_failed", "record": None, "rows": (), "begin": None, "end": None}
    return [export, failed, replace(wait, **todo)]


def test_a_failed_import_says_why_what_is_missing_which_try_it_was_and_who_started_it(ask_as: Any) -> None:
    begin = float(int(time.time()) - 9000)
    add_run("import_users", "manual__1", begin, failed_import(begin), "failed", user="li.na")
    listed = by_run(ask_as("viewer")("api/imports"))["manual__1"]
    (one,) = ask_as("viewer")("api/import", dag_id="import_users", run_id="manual__1").json()["imports"]
    assert (listed["user"], listed["tries"], listed["state"]) == ("li.na", 2, "failed")
    assert listed["failed_tasks"] == one["failed_tasks"]
    (failed,) = one["failed_tasks"]
    assert failed == {
        "task_id": "upload", "map_index": -1, "step": "upload", "cause": "told", "try_number": 2, "tries": 4,
        "will_retry": False, "error": "Refused", "kind": "Refused", "text": "<b>no</b>", "is_lasting": True,
        "at": begin + 100,
    }  # fmt: skip
    assert [task_id is None for task_id in one["file_columns"]["task_id"]] == [False, False, False, True, True]


def test_a_run_whose_task_died_before_it_began_is_listed(ask_as: Any) -> None:
    dead = Left("export_users", "export", "failed")
    waiting = Left("upload", "upload", "upstream_failed")
    add_run("import_users", "manual__1", time.time(), [dead, waiting], "failed")
    add_run("import_users", "manual__2", time.time(), [Left("prepare", "export", "failed", operator="EmptyOperator")])
    found = by_run(ask_as("viewer")("api/imports"))
    assert set(found) == {"manual__1"}
    (failed,) = found["manual__1"]["failed_tasks"]
    assert (failed["task_id"], failed["cause"]) == ("export_users", "not_begun")


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "x" * 2_001}, {"text": "\ud800"}, {"text": 1}, {"text": "\0"}, {"text": ""}, {"kind": "Worse"},
        {"kind": ["Refused"]}, {"error": "x" * 251}, {"error": None}, {"at": -1}, {"at": True}, {"step": "sing"},
        {"version": 1}, {"text": {"a": 1}},
    ],
)  # fmt: skip
def test_a_failure_that_is_none_is_not_shown(ask_as: Any, changes: dict[str, Any]) -> None:
    begin = float(int(time.time()) - 9000)
    add_run("import_users", "manual__1", begin, failed_import(begin, **changes), "failed")
    one = by_run(ask_as("viewer")("api/imports"))["manual__1"]
    (failed,) = one["failed_tasks"]
    assert (failed["cause"], failed["text"], one["unreadable"]) == ("ended", None, 1)


def test_todays_files_are_told_and_the_connection_to_who_may_read_it(ask_as: Any) -> None:
    begin = max(day_of(time.time()) + 1, time.time() - 60)
    for run_id in ("manual__1", "manual__2"):
        export, upload, _ = whole_import(PACKAGE, begin, 3)
        upload = replace(upload, record={**(upload.record or {}), "quota": 6000})
        add_run("import_users", run_id, begin, [export, upload])
    told = {"files": 6, "quota": 6000}
    assert ask_as("op")("api/imports").json()["today"] == [{"wxbank_conn_id": "wxbank_default", **told}]
    assert ask_as("viewer")("api/imports").json()["today"] == [{"wxbank_conn_id": None, **told}]
    assert ask_as(who_lacks("DAG", "some"))("api/imports").json()["today"] == [{"wxbank_conn_id": None, **told}]


@pytest.mark.parametrize(
    ("address", "told"), [("https://docs.example.com/wxbank", True), ("javascript:alert(1)", False), ("", False)]
)
def test_the_documentation_is_linked_where_the_installation_says_it_is(
    ask_as: Any, monkeypatch: pytest.MonkeyPatch, address: str, told: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__WXBANK__DOCS_URL", address)
    assert ask_as("viewer")("api/imports").json()["docs"] == (address if told else None)


def test_a_class_derived_from_ours_is_known_by_its_record(ask_as: Any) -> None:
    begin = time.time()
    tasks = [replace(task, operator="OurBanksOperator") for task in whole_import(PACKAGE, begin, 1)]
    add_run("import_users", "manual__1", begin, tasks)
    assert by_run(ask_as("viewer")("api/imports"))["manual__1"]["state"] == "finished"


def test_older_imports_come_by_and_by(ask_as: Any) -> None:
    for index in range(5):
        begin = time.time() + index
        add_run("import_users", f"manual__{index}", begin, whole_import(PACKAGE, begin, 1), "success")
    ask = ask_as("viewer")
    newest = ask("api/imports", limit=2).json()
    assert [one["run_id"] for one in newest["imports"]] == ["manual__4", "manual__3"]
    older = ask("api/imports", limit=3, before=newest["before"]).json()
    assert [one["run_id"] for one in older["imports"]] == ["manual__2", "manual__1", "manual__0"]
    assert older["before"] is None


DAY = 86_400.0
SEARCH = "airflow_provider_wxbank.ui.search"


def add_imports(now: float) -> None:
    """Imports of two DAGs into two packages, one a day, the oldest first."""
    for days, (dag_id, run_id, package_id, user, matched) in enumerate(
        [
            ("salary_users", "manual__a", PACKAGE, "li.na", 5400),
            ("salary_users", "manual__b", PACKAGE, None, 100),
            ("card_users", "scheduled__c", "9000001", "wang.xiaoming", 5400),
            ("card_users", "scheduled__d", PACKAGE, None, 5400),
        ]
    ):
        begin = now - (3 - days) * DAY
        tasks = whole_import(package_id, begin, 1, matched=matched, prefix=run_id)
        add_run(dag_id, run_id, begin, tasks, "success", user=user)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "dcba"),
        ({"text": "SALARY"}, "ba"),
        ({"text": "wang"}, "c"),
        ({"text": "9000001"}, "c"),
        ({"text": " users  scheduled "}, "dc"),
        ({"text": "salary scheduled"}, ""),
        ({"text": "%"}, ""),
        ({"text": "_"}, "dcba"),
        ({"state": "unmatched"}, "b"),
        ({"state": "finished"}, "dca"),
        ({"state": "failed"}, ""),
        ({"dag_id": "card_users"}, "dc"),
        ({"dag_id": "card"}, ""),
        ({"package_id": PACKAGE}, "dba"),
        ({"package_id": PACKAGE[:-1]}, ""),
        ({"since": 1.5}, "dc"),
        ({"until": 1.5}, "ba"),
        ({"since": 2.5, "until": 0.5}, "cb"),
        ({"state": "finished", "dag_id": "salary_users", "since": 3.5}, "a"),
        ({"state": "finished", "dag_id": "salary_users", "since": 2.5}, ""),
    ],
    ids=str,
)
def test_imports_are_searched_and_filtered(ask_as: Any, wanted: dict[str, Any], expected: str) -> None:
    """Here times are in days before now."""
    now = time.time()
    add_imports(now)
    times = {name: now - days * DAY for name, days in wanted.items() if name in ("since", "until")}
    found = ask_as("viewer")("api/imports", **{**wanted, **times}).json()
    assert "".join(one["run_id"][-1] for one in found["imports"]) == expected
    assert found["dags"] == ["card_users", "salary_users"]


def test_what_is_wanted_is_found_however_many_others_are_newer(ask_as: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where one question had read enough, and loses and repeats none."""
    monkeypatch.setattr(f"{SEARCH}.RUNS_AT_ONCE", 10)
    monkeypatch.setattr(f"{SEARCH}.MAX_RUNS", 20)
    begin = time.time() - 1000
    for index in range(50):
        matched = 100 if index in (0, 1, 35) else 5400
        add_run("import_users", f"manual__{index}", begin + index, whole_import(PACKAGE, begin, 1, matched=matched))
    ask = ask_as("viewer")
    found: list[str] = []
    answers = 0
    before: dict[str, int] = {}
    while before is not None and answers < 10:
        answer = ask("api/imports", state="unmatched", limit=10, **before).json()
        found += [one["run_id"] for one in answer["imports"]]
        before = None if answer["before"] is None else {"before": answer["before"]}  # type: ignore[assignment]
        answers += 1
    assert found == ["manual__35", "manual__1", "manual__0"]
    assert 2 < answers < 5


@pytest.mark.parametrize("limit", ["time", "another search"])
def test_a_search_that_would_hold_others_ends_early_and_says_where_to_go_on(
    ask_as: Any, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """A process that searches for one user has others to serve, and the health of the server to tell."""
    monkeypatch.setattr(f"{SEARCH}.RUNS_AT_ONCE", 2)
    begin = time.time() - 1000
    for index in range(5):
        add_run("import_users", f"manual__{index}", begin + index, whole_import(PACKAGE, begin, 1), "success")
    ask = ask_as("viewer")
    if limit == "time":
        monkeypatch.setattr(f"{SEARCH}.MAX_SECONDS", 0.0)
        first = ask("api/imports", text="manual__0").json()
    else:
        from airflow_provider_wxbank.ui.search import _going_on

        with _going_on:
            first = ask("api/imports", text="manual__0").json()
            # The newest runs are read all the same.
            assert [one["run_id"] for one in ask("api/imports", text="manual__4").json()["imports"]] == ["manual__4"]
    assert (first["imports"], first["before"] is None) == ([], False)
    if limit == "another search":
        assert [one["run_id"] for one in ask("api/imports", text="manual__0").json()["imports"]] == ["manual__0"]


def test_a_search_reads_many_runs_at_once_however_few_imports_are_asked_for(
    ask_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = time.time() - 1000
    for index in range(12):
        add_run("import_users", f"manual__{index}", begin + index, whole_import(PACKAGE, begin, 1), "success")
    monkeypatch.setattr(f"{SEARCH}.MAX_SECONDS", 0.0)
    found = ask_as("viewer")("api/imports", text="manual__0", limit=1).json()
    assert [one["run_id"] for one in found["imports"]] == ["manual__0"]


def test_a_search_finds_nothing_of_dags_that_the_user_may_not_read(ask_as: Any) -> None:
    begin = time.time()
    add_run(HIDDEN_DAG, "manual__hidden", begin, whole_import(PACKAGE, begin, 1), user="somebody")
    ask = ask_as(who_lacks("XCOM"))
    for wanted in ({"text": "somebody"}, {"dag_id": HIDDEN_DAG}, {"package_id": PACKAGE}, {"state": "finished"}):
        found = ask("api/imports", **wanted).json()
        assert (found["imports"], found["dags"], found["before"]) == ([], [], None)


def test_runs_without_an_import_are_not_listed(ask_as: Any) -> None:
    add_run("other", "manual__1", time.time(), [Left("other", "wait", "running", None, operator="EmptyOperator")])
    assert ask_as("admin")("api/imports").json()["imports"] == []


def test_ten_thousand_files_in_fifty_imports_are_a_small_answer(
    ask_as: Any, record_property: Callable[[str, object], None]
) -> None:
    for index in range(50):
        begin = time.time() - index * 1000
        add_run("import_users", f"manual__{index:02}", begin, whole_import(PACKAGE, begin, 200), "success")
    ask = ask_as("admin")
    ask("api/imports")
    began = time.perf_counter()
    answer = ask("api/imports")
    record_property("milliseconds", round(1000 * (time.perf_counter() - began)))
    assert sum(one["files"] for one in answer.json()["imports"]) == 10_000
    record_property("bytes", len(answer.content))
    assert len(answer.content) < 200_000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "upload", "\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
NAMES = [one.name for one in fields(Sums)]
RECORDS = JSON | st.fixed_dictionaries(
    {
        "version": st.just(VERSION) | JSON,
        "step": st.sampled_from(["export", "upload", "wait"]),
        "package_id": st.sampled_from(["9001177", PACKAGE]),
    },
    optional={name: JSON for name in NAMES if name not in ("step", "package_id")},
)
COLUMN = st.lists(JSON, min_size=2, max_size=2) | JSON
ROWS = JSON | st.fixed_dictionaries(
    {"version": st.just(VERSION), "filename": COLUMN, "task_id": COLUMN},
    optional=dict.fromkeys(("rows", "at", "created", "finished", "success_count", "fail_count"), COLUMN),
)


@pytest.fixture
def beside_a_good_one(ask_as: Any) -> Callable[[Callable[[Any], None]], dict[str, Any]]:
    """Gives what asks the page while one run's XComs are not ours: what is answered of that run."""
    begin = float(int(time.time()) - 9000)
    add_run("import_users", "good", begin, whole_import(PACKAGE, begin, 2), "success")
    others = Left("others", "wait", "success", {}, operator="EmptyOperator")
    add_run("import_users", "bad", begin, [*whole_import(PACKAGE, begin, 2), others], "success")
    ask = ask_as("viewer")
    good = by_run(ask("api/imports"))["good"]
    opened = ask("api/import", dag_id="import_users", run_id="good").json()["imports"]

    def look(change: Callable[[Any], None]) -> dict[str, Any]:
        from airflow.utils.session import create_session

        with create_session() as session:
            change(session)
        listed = ask("api/imports")
        assert by_run(listed)["good"] == good
        assert ask("api/import", dag_id="import_users", run_id="good").json()["imports"] == opened
        shown = ask("api/import", dag_id="import_users", run_id="bad")
        assert shown.status_code == 200, shown.text
        found: dict[str, Any] = shown.json()
        assert len(found["imports"]) >= 1
        return found

    return look


def put(values: dict[str, Any], task_id: str | None = None) -> Callable[[Any], None]:
    """Puts values into the XComs of the bad run, by key; of one of its tasks or all."""

    def change(session: Any) -> None:
        for key, value in values.items():
            change_xcoms(session, "bad", value, key=key, task_id=task_id)

    return change


@given(record=RECORDS, other=RECORDS, uploaded=ROWS, finished=ROWS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_lies_in_xcoms_others_see_their_imports(
    beside_a_good_one: Any, record: Any, other: Any, uploaded: Any, finished: Any
) -> None:
    def change(session: Any) -> None:
        put({KEY: record, UPLOADED: uploaded, FINISHED: finished})(session)
        put({KEY: other}, "upload")(session)

    beside_a_good_one(change)


@pytest.mark.parametrize("text", ["no JSON", "[" * 100_000, '{"step": "wait", "at": ' + "9" * 5_000 + "}", "NaN", ""])
def test_what_is_no_json_is_no_record(beside_a_good_one: Any, text: str) -> None:
    from sqlalchemy import Text, literal

    def change(session: Any) -> None:
        change_xcoms(session, "bad", literal(text, Text))

    (one,) = beside_a_good_one(change)["imports"]
    assert (one["state"], one["unreadable"], one["file_columns"]["task_id"]) == ("finished", 5, [])


@pytest.mark.parametrize("manifest", [{}, [], {"a": 1}, 1, True])
def test_one_record_with_something_else_for_a_manifest_is_told_by_itself(beside_a_good_one: Any, manifest: Any) -> None:
    def change(session: Any) -> None:
        put({KEY: {"version": VERSION, "step": "wait", "package_id": "9001177"}}, "finished")(session)
        put({KEY: {"version": VERSION, "step": "wait", "package_id": "9001188"}}, "others")(session)
        put({KEY: {"version": VERSION, "step": "upload", "package_id": PACKAGE, "manifest": manifest}}, "upload")(
            session
        )

    others, more, unknown = sorted(beside_a_good_one(change)["imports"], key=lambda one: one.get("package_id", "~"))
    assert (others["package_id"], more["package_id"]) == ("9001177", "9001188")
    assert (others["unreadable"], more["unreadable"], unknown["unreadable"]) == (0, 0, 1)
    assert unknown["steps"] == {"export": "none", "upload": "done", "wait": "none"}


def test_what_is_not_known_is_not_shown_as_0(beside_a_good_one: Any) -> None:
    found = beside_a_good_one(put({KEY: "s3://xcoms/elsewhere"}))
    (one,) = found["imports"]
    assert (one["state"], one["unreadable"], found["unreadable"]) == ("finished", 3, 1)
    assert one["steps"] == {"export": "done", "upload": "done", "wait": "done"}
    for name in ("package_id", "files", "uploaded", "finished", "rows", "rows_uploaded", "skipped", "success_count"):
        assert name not in one
    assert len(one["file_columns"]["task_id"]) == 2


@pytest.mark.parametrize(("padding", "unreadable"), [(19_900, 0), (20_000, 1), (10_000_000, 1)])
def test_no_more_of_a_record_is_read_than_one_can_have(beside_a_good_one: Any, padding: int, unreadable: int) -> None:
    record = {"version": VERSION, "step": "upload", "package_id": PACKAGE, "padding": "x" * padding}
    imports = beside_a_good_one(put({KEY: record}, "upload"))["imports"]
    assert sum(one["unreadable"] for one in imports) == unreadable


def test_a_row_that_is_none_is_left_out_alone(beside_a_good_one: Any) -> None:
    rows: list[list[Any]] = [
        ["a.csv", "1", 10, 5],
        ["b.csv", "2", -1, 5],
        ["c.csv", None, None, None],
        [None, None, None, None],
        ["d.csv", "4", None, None],
        ["\ud800", "5", 1, 1],
    ]
    names = ("filename", "task_id", "rows", "at")
    piece = {"version": VERSION, **{name: [row[index] for row in rows] for index, name in enumerate(names)}}
    (one,) = beside_a_good_one(put({UPLOADED: piece, FINISHED: None}))["imports"]
    columns = one["file_columns"]
    assert list(zip(columns["filename"], columns["task_id"], columns["rows"], strict=True)) == [
        ("a.csv", "1", 10),
        ("d.csv", "4", None),
    ]
    assert one["unreadable"] == 5


@pytest.mark.parametrize(
    "change", [{"version": 1}, {"version": None}, {"task_id": ["1"]}, {"rows": "10"}, {"at": None}, {"filename": {}}]
)
def test_a_piece_that_does_not_fit_is_none(beside_a_good_one: Any, change: dict[str, Any]) -> None:
    piece = {"version": VERSION, "filename": ["a.csv", "b.csv"], "task_id": ["1", "2"], "rows": [1, 2], "at": [3, 4]}
    (one,) = beside_a_good_one(put({UPLOADED: {**piece, **change}}))["imports"]
    assert one["unreadable"] == 1
    assert "a.csv" not in one["file_columns"]["filename"]


def test_records_that_an_xcom_backend_keeps_elsewhere_are_told_and_not_shown_as_0(
    ask_as: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend

    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", tmp_path.as_uri())
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "0")
    begin = float(int(time.time()) - 9000)
    tasks = whole_import(PACKAGE, begin, 2)
    add_run("import_users", "manual__1", begin, tasks, "success", XComObjectStorageBackend.serialize_value)
    assert any(path.is_file() for path in tmp_path.rglob("*"))
    ask = ask_as("viewer")
    one = by_run(ask("api/imports"))["manual__1"]
    assert (one["state"], one["unreadable"], one["begin"], one["end"]) == ("finished", 3, begin, begin + 2630)
    assert not {"package_id", "files", "uploaded", "finished", "rows", "rows_uploaded", "success_count"} & one.keys()
    (one,) = ask("api/import", dag_id="import_users", run_id="manual__1").json()["imports"]
    assert (one["unreadable"], one["file_columns"]["task_id"]) == (5, [])


def test_connections_are_named_only_to_who_may_read_them(ask_as: Any) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(Connection(conn_id="wxbank_default", conn_type="wxbank", login="1900000001", password="secret"))
        session.add(Connection(conn_id="bank_db", conn_type="postgres"))
    add_run("import_users", "manual__1", time.time(), whole_import(PACKAGE, time.time(), 1))
    seen = ask_as("op")("api/imports")
    assert (seen.json()["may_ask"], seen.json()["connections"]) == (True, ["wxbank_default"])
    assert by_run(seen)["manual__1"]["wxbank_conn_ids"] == ["wxbank_default"]
    hidden = ask_as("viewer")("api/imports")
    assert (hidden.json()["may_ask"], hidden.json()["connections"]) == (False, [])
    assert "wxbank_default" not in hidden.text
    assert "1900000001" not in seen.text + hidden.text


def test_a_package_filled_elsewhere_is_for_who_may_read_the_connection(
    ask_as: Any, new_simulator: NewSimulator, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = new_simulator()
    connect(simulator)
    fill(simulator, 25)
    question = {"wxbank_conn_id": "wxbank_default", "package_id": PACKAGE}
    before = simulator.report()["requests"]
    assert ask_as("viewer")("api/package", **question).status_code == 403
    assert simulator.report()["requests"] == before
    found = answered(ask_as("op"), **question)["listed"]
    assert (len(found["file_columns"]["task_id"]), found["processing"]) == (25, 0)
    assert sum(found["file_columns"]["success_count"]) == 25
    # Whoever looks again, WeChat Pay is not asked again within the minute.
    asked = simulator.report()["requests"]
    assert answered(ask_as("admin"), **question)["listed"] == found
    assert simulator.report()["requests"] == asked


def asked_in_log() -> list[tuple[str | None, Any]]:
    """Who has let the page ask, and for what, as Airflow's log table has it."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.execute(select(Log.owner, Log.extra).where(Log.event == "wxbank_package").order_by(Log.id))
        return [(owner, json.loads(extra or "")) for owner, extra in rows]


def test_asking_wechat_pay_leaves_a_row_a_visit_and_not_one_a_look(
    ask_as: Any, new_simulator: NewSimulator, connect: Any
) -> None:
    connect(new_simulator())
    question = {"wxbank_conn_id": "wxbank_default", "package_id": "9001155"}
    before = len(asked_in_log())
    for _ in range(3):
        answered(ask_as("op"), **question)
    answered(ask_as("admin"), **question)
    ask_as("viewer")("api/package", **question)
    ask_as("op")("api/package", **{**question, "package_id": "../x"})
    assert asked_in_log()[before:] == [("op", question), ("admin", question)]


def test_a_visit_is_over_after_an_hour_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_wxbank.ui import audit

    left: list[str] = []
    monkeypatch.setattr(audit, "leave_row", lambda event, user, facts: left.append(user))
    monkeypatch.setattr(audit, "MAX_VISITS", 3)
    now = [0.0]
    visits = audit.Visits(lambda: now[0])
    for user in ("a", "b", "a"):
        visits.note(user, "wxbank_default", PACKAGE)
    assert left == ["a", "b"]
    now[0] = audit.VISIT_SECONDS
    for user in ("a", "a", "c", "d", "e", "a"):
        visits.note(user, "wxbank_default", PACKAGE)
    assert left == ["a", "b", "a", "c", "d", "e", "a"]


def test_an_outage_of_wechat_pay_is_told_and_not_asked_into(
    ask_as: Any, new_simulator: NewSimulator, connect: Any
) -> None:
    simulator = new_simulator()
    connect(simulator, login="1900000009")
    question = {"wxbank_conn_id": "wxbank_default", "package_id": "9001199"}
    first = answered(ask_as("op"), **question)
    assert first["listed"] is None
    assert "merchant id" in first["failure"]
    asked = simulator.report()["requests"]
    assert answered(ask_as("op"), **question)["failure"] == first["failure"]
    assert simulator.report()["requests"] == asked


def test_a_connection_that_does_not_exist_is_told(ask_as: Any) -> None:
    found = answered(ask_as("op"), wxbank_conn_id="nobodys", package_id=PACKAGE)
    assert found["failure"] == "there is no connection nobodys"


@pytest.mark.parametrize("package_id", ["../x", "1", "12345678901234567"])
def test_a_package_id_that_is_none_is_refused(ask_as: Any, package_id: str) -> None:
    answer = ask_as("op")("api/package", wxbank_conn_id="wxbank_default", package_id=package_id)
    assert answer.status_code == 422
    assert "package_id" in answer.json()["detail"]


NO_IDS = ["\0", "a\0b", "x" * 251]


@pytest.mark.parametrize("value", NO_IDS)
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("api/imports", "before"),
        ("api/imports", "text"),
        ("api/imports", "dag_id"),
        ("api/imports", "package_id"),
        ("api/imports", "state"),
        ("api/imports", "since"),
        ("api/import", "dag_id"),
        ("api/import", "run_id"),
        ("api/package", "wxbank_conn_id"),
        ("api/package", "package_id"),
    ],
)
def test_what_no_id_can_be_is_refused(ask_as: Any, path: str, name: str, value: str) -> None:
    others = {"dag_id": "a", "run_id": "b"} if path == "api/import" else {"wxbank_conn_id": "a", "package_id": PACKAGE}
    assert ask_as("admin")(path, **{**others, name: value}).status_code == 422


@pytest.mark.parametrize("name", ["before", "limit"])
@pytest.mark.parametrize("number", [-1, 2**31, 2**63, 99999999999999999999999, "9" * 200, "1e9", "NaN"])
def test_a_number_that_no_run_has_is_refused(ask_as: Any, name: str, number: object) -> None:
    assert ask_as("admin")("api/imports", **{name: number}).status_code == 422


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("moment", [-1, 1e11, "1e400", "NaN", "inf", "-inf", "yesterday"])
def test_a_time_that_no_run_has_is_refused(ask_as: Any, name: str, moment: object) -> None:
    assert ask_as("admin")("api/imports", **{name: moment}).status_code == 422


def test_a_silent_connection_holds_nobody(
    served: str, token_of: Any, new_simulator: NewSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "READ_SECONDS", PATIENCE)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        connection = new_simulator().airflow_connection()
        connection["host"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connection["extra"]["read_timeout"] = PATIENCE
        monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps(connection))
        cookies = {"_token": token_of("op")}

        def get(path: str) -> requests.Response:
            return requests.get(f"{served}/wxbank/{path}", cookies=cookies, timeout=PATIENCE)

        # More than the threads that all requests of the API server share.
        with ThreadPoolExecutor(60) as pool:
            paths = [f"api/package?wxbank_conn_id=silent&package_id={index}" for index in range(1000, 1060)]
            answers = list(pool.map(get, paths))
        assert get("api/imports").status_code == 200
        questions = [answer.json()["question"] for answer in answers]
        assert sorted(set(questions)) == ["asking", "later"]
        assert questions.count("asking") == elsewhere.PLACES
        # All were answered before WeChat Pay has answered one.
        assert get(paths[0]).json()["question"] in ("asking", "later")
        threads = [one for one in threading.enumerate() if one.name == elsewhere.THREAD_NAME]
        assert 1 <= len(threads) <= elsewhere.THREADS
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script_of_others(ask_as: Any) -> None:
    ask = ask_as("viewer")
    page = ask("")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", page.text)
    for name in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        assert ask(name).status_code == 200
    assert ask("static/page.css").headers["content-type"].startswith("text/css")
    assert "javascript" in ask("static/page.js").headers["content-type"]
    assert ask("static/..%2Fapp.py").status_code == 404


def fill(simulator: Any, files: int) -> None:
    """Fill the package as someone else would, a number a file."""
    from contextlib import closing

    from airflow_provider_wxbank.hooks import WxBankHook

    hook = WxBankHook()
    with closing(hook.get_conn()):
        for index, number in enumerate(numbers(files)):
            hook.create_task(PACKAGE, f"{hook.encrypt(number)}\n".encode(), "ICBC_DEBIT", f"elsewhere-{index:03}.csv")
