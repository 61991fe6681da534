"""The page "WeChat Pay packages" in Airflow's own API server: its application, database and authorization."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.record import HAS_PAGE
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.integration.page_data import Left, add_run, whole_import

pytestmark = [
    pytest.mark.skipif(not HAS_PAGE, reason="Airflow before 3.1 has no place for the page"),
    pytest.mark.filterwarnings("ignore"),  # Airflow's own
]

USERS = "admin:admin,op:op,viewer:viewer"

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def airflow_app() -> Iterator[Any]:
    """Airflow's API server application, with its database made and three users."""
    settings = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": f"{os.environ['AIRFLOW_HOME']}/passwords.json",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests alone, which is long enough for its purpose",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        Path(settings["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).write_text(
            json.dumps({user.split(":")[0]: "secret" for user in USERS.split(",")})
        )
        from airflow.api_fastapi.app import create_app, purge_cached_app
        from airflow.utils.db import initdb

        initdb()
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture(scope="module")
def ask_as(airflow_app: Any) -> Callable[[str | None], Ask]:
    """Gives, for a user or nobody, what asks the page."""
    from fastapi.testclient import TestClient

    tokens: dict[str, str] = {}

    def of(user: str | None) -> Ask:
        client = TestClient(airflow_app, base_url="http://testserver")
        if user is not None:
            if user not in tokens:
                answer = client.post("/auth/token", json={"username": user, "password": "secret"})
                tokens[user] = answer.json()["access_token"]
            # As the browser does, in the page's frame.
            client.cookies.set("_token", tokens[user])
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


def by_run(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {one["run_id"]: one for one in answer.json()["imports"]}


PATHS = ["", "import", "package", "static/page.js", "api/imports", "api/import?dag_id=a&run_id=b"]


@pytest.mark.parametrize("path", [*PATHS, "api/package?wxbank_conn_id=a&package_id=8473295"])
def test_without_a_session_there_is_nothing(ask_as: Any, path: str) -> None:
    assert ask_as(None)(path).status_code == 401


def test_a_viewer_sees_the_imports_of_dags_that_he_may_read_and_no_others(
    ask_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    begin = time.time() - 9000
    add_run("import_users", "manual__1", begin, whole_import(PACKAGE, begin, 2), "success")
    add_run("import_others", "manual__2", begin, whole_import(PACKAGE, begin, 2), "success")
    ask = ask_as("viewer")
    assert set(by_run(ask("api/imports"))) == {"manual__1", "manual__2"}
    # As an auth manager does whose permissions are by DAG.
    monkeypatch.setattr(SimpleAuthManager, "get_authorized_dag_ids", lambda *_, **__: {"import_users"})
    assert set(by_run(ask("api/imports"))) == {"manual__1"}
    assert ask("api/import", dag_id="import_users", run_id="manual__1").status_code == 200
    hidden = ask("api/import", dag_id="import_others", run_id="manual__2")
    absent = ask("api/import", dag_id="import_others", run_id="manual__3")
    assert (hidden.status_code, hidden.text) == (absent.status_code, absent.text) == (404, absent.text)


@pytest.mark.parametrize("entity", ["RUN", "TASK_INSTANCE", "XCOM"])
def test_who_may_not_read_runs_tasks_or_xcoms_sees_nothing(
    ask_as: Any, monkeypatch: pytest.MonkeyPatch, entity: str
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    allowed = SimpleAuthManager.is_authorized_dag

    def but_one(self: Any, *, access_entity: Any = None, **options: Any) -> bool:
        return access_entity.name != entity and allowed(self, access_entity=access_entity, **options)

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", but_one)
    ask = ask_as("viewer")
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
    files = one["file_rows"]
    assert (len(files), one["failed_files"]) == (600, 1)
    name, task_id, rows, uploaded, finished, *counts = files[1]
    assert re.fullmatch(r"import-\d+-0{31}1\.csv", name)
    assert (rows, uploaded, finished, counts) == (5500, begin + 60, begin + 2475, [5000, 500, 5100])
    assert task_id not in (files[0][1], "")
    assert files[0][5:] == [0, 5500, 0]


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
    answer = ask_as("op")("api/package", **question)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (len(found["file_rows"]), found["processing"]) == (25, 0)
    assert sum(row[5] for row in found["file_rows"]) == 25
    # Whoever looks again, WeChat Pay is not asked again within the minute.
    asked = simulator.report()["requests"]
    assert ask_as("admin")("api/package", **question).json()["file_rows"] == found["file_rows"]
    assert simulator.report()["requests"] == asked


def test_an_outage_of_wechat_pay_is_told_and_not_asked_into(
    ask_as: Any, new_simulator: NewSimulator, connect: Any
) -> None:
    simulator = new_simulator()
    connect(simulator, login="1900000009")
    question = {"wxbank_conn_id": "wxbank_default", "package_id": "9001199"}
    first = ask_as("op")("api/package", **question)
    assert first.status_code == 502
    assert "merchant id" in first.json()["detail"]
    asked = simulator.report()["requests"]
    assert ask_as("op")("api/package", **question).text == first.text
    assert simulator.report()["requests"] == asked


def test_a_connection_that_does_not_exist_is_told(ask_as: Any) -> None:
    for _ in range(2):
        answer = ask_as("op")("api/package", wxbank_conn_id="nobodys", package_id=PACKAGE)
        assert (answer.status_code, answer.json()["detail"]) == (502, "there is no connection nobodys")


@pytest.mark.parametrize("package_id", ["../x", "1", "12345678901234567"])
def test_a_package_id_that_is_none_is_refused(ask_as: Any, package_id: str) -> None:
    answer = ask_as("op")("api/package", wxbank_conn_id="wxbank_default", package_id=package_id)
    assert answer.status_code == 502
    assert "package_id" in answer.json()["detail"]


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
