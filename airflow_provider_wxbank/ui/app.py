# SPDX-License-Identifier: Apache-2.0
"""The page and its data, behind Airflow's own authorization: only users who may read a DAG see its imports.

What WeChat Pay lists of a package is only for users who may read the connection that asks for it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.configuration import conf
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from airflow_provider_wxbank._compat import SIGN_IN_KEEPS_ADDRESS
from airflow_provider_wxbank.packages.counts import finished_file
from airflow_provider_wxbank.packages.quota import day_of
from airflow_provider_wxbank.ui import database
from airflow_provider_wxbank.ui.audit import Visits
from airflow_provider_wxbank.ui.elsewhere import POLL_SECONDS, Listed, Packages
from airflow_provider_wxbank.ui.files import columns, file_rows
from airflow_provider_wxbank.ui.imports import Import, State, imports
from airflow_provider_wxbank.ui.permissions import Reader
from airflow_provider_wxbank.ui.search import Wanted, search
from airflow_provider_wxbank.ui.today import Today, used_today
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

STATIC = Path(__file__).parent / "static"
FILES = {path.name: path for path in STATIC.iterdir()}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

IMPORTS = 50
"""Imports in an answer. One DAG run may have several, so there may be some more."""

MAX_PARAMETER = 250
"""Characters of an id, as Airflow has them."""

MAX_RUN = 2**31 - 1
"""The largest id of a DAG run in Airflow's database."""

MAX_SECONDS = 2.0**35
"""Unix seconds of the last moment that can be asked for, in the year 3058."""

Moment = Annotated[float | None, Query(ge=0, le=MAX_SECONDS)]


def new_app(packages: Packages | None = None) -> FastAPI:
    """The application that Airflow mounts at ``/wxbank``.

    :param packages: what is known of packages that were filled elsewhere.
    """
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user), Depends(check_parameters)]
    )
    # Each worker process of the API server asks by itself, so each asks less often.
    workers = max(conf.getint("api", "workers", fallback=1), 1)
    app.state.packages = packages or Packages(POLL_SECONDS * workers)
    app.state.visits = Visits()
    app.include_router(router)
    app.add_exception_handler(HTTPException, _to_sign_in)
    return app


async def _to_sign_in(request: Request, failure: Exception) -> Response:
    """Whoever opens the page without a session signs in first, and comes back. Data is refused as before."""
    assert isinstance(failure, HTTPException)
    is_page = "/static/" not in request.url.path and "text/html" in request.headers.get("accept", "")
    if failure.status_code != 401 or not is_page:
        return await http_exception_handler(request, failure)
    path = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = urlencode({"next": here if SIGN_IN_KEEPS_ADDRESS else quote(here)})
    return RedirectResponse(f"{path}/api/v2/auth/login?{query}", 303, {"Cache-Control": "no-store"})


router = APIRouter()


@router.get("/")
@router.get("/import")
@router.get("/package")
def page() -> FileResponse:
    """The page. Its script shows the view that belongs to the path."""
    return FileResponse(STATIC / "page.html", headers={**HEADERS, "Cache-Control": "no-cache"})


@router.get("/static/{name}")
def static(name: str) -> FileResponse:
    """A file that the page is made of."""
    # A name is only looked up, never joined to a path.
    if name not in FILES:
        raise HTTPException(404, "Not found")
    return FileResponse(FILES[name], headers={**HEADERS, "Cache-Control": "no-cache"})


def _wanted(
    text: str = "",
    state: State | None = None,
    package_id: str | None = None,
    since: Moment = None,
    until: Moment = None,
) -> Wanted:
    return Wanted(text, state, package_id, since, until)


@router.get("/api/imports")
def list_imports(
    user: GetUserDep,
    session: SessionDep,
    wanted: Annotated[Wanted, Depends(_wanted)],
    dag_id: str | None = None,
    before: Annotated[int | None, Query(ge=0, le=MAX_RUN)] = None,
    limit: Annotated[int, Query(ge=1, le=IMPORTS)] = IMPORTS,
) -> Response:
    """The newest imports of the DAGs that the user may read, those that are wanted, and about as many as the limit."""
    reader = _reader_of_imports(user)
    dag_ids = reader.dags_with_imports(database.dags_with_imports(session))
    now = time.time()
    searched = [one for one in dag_ids if dag_id in (None, one)]
    found = search(session, searched, wanted, limit, before, now)
    midnight = day_of(now)
    today = used_today(database.recorded_since(session, dag_ids, midnight), midnight) if before is None else []
    return _json(
        now=now,
        docs=_docs(),
        today=[_used(one, reader) for one in today],
        imports=[_shown(one, reader) for one in found.imports],
        dags=sorted(dag_ids),
        unreadable=found.unreadable,
        before=found.before,
        may_ask=reader.may_read_connection(None),
        connections=[one for one in database.connection_ids(session) if reader.may_read_connection(one)],
    )


@router.get("/api/import")
def one_import(user: GetUserDep, session: SessionDep, dag_id: str, run_id: str) -> Response:
    """The imports of a DAG run, each with its files."""
    reader = _reader_of_imports(user)
    run = database.one_run(session, dag_id, run_id) if reader.dags_with_imports([dag_id]) else None
    if run is None:
        raise HTTPException(404, "There is no such DAG run, or you may not see it")
    now = time.time()
    tasks, unreadable = database.tasks_of(session, [run])
    found = []
    for one, group in imports(run, tasks.get(run.id, []), now):
        files, unreadable_files = database.files_of(session, run, group)
        found.append(
            {**_shown(one, reader), "file_columns": columns(files), "unreadable": one.unreadable + unreadable_files}
        )
    return _json(now=now, docs=_docs(), imports=found, unreadable=unreadable)


@router.get("/api/package")
def one_package(request: Request, user: GetUserDep, wxbank_conn_id: str, package_id: str) -> Response:
    """What is known of WeChat Pay's list of a package, for users who may read the connection."""
    if not Reader(user).may_read_connection(wxbank_conn_id):
        raise HTTPException(403, "You may not read this connection")
    packages: Packages = request.app.state.packages
    try:
        seen = packages.look(wxbank_conn_id, package_id)
    except InvalidInput as failure:
        raise HTTPException(422, str(failure)) from None
    request.app.state.visits.note(user.get_name(), wxbank_conn_id, package_id)
    return _json(
        now=time.time(),
        package_id=package_id,
        wxbank_conn_id=wxbank_conn_id,
        interval=packages.interval,
        question=seen.question,
        failure=seen.failure,
        tried_at=seen.tried_at,
        listed=None if seen.listed is None else _listed(seen.listed),
    )


def check_parameters(request: Request) -> None:
    """Refuse what cannot be an id before anything is asked for it: PostgreSQL takes no NUL."""
    for name, value in request.query_params.multi_items():
        if "\0" in value or len(value) > MAX_PARAMETER:
            raise HTTPException(422, f"{name[:40]!r} has more than {MAX_PARAMETER} characters, or one that no id has")


def _reader_of_imports(user: Any) -> Reader:
    reader = Reader(user)
    if not reader.may_read_imports():
        raise HTTPException(403, "You may not read DAG runs, task instances and XComs")
    return reader


def _shown(one: Import, reader: Reader) -> dict[str, Any]:
    """An import without what is not known, and without connections that the user may not read."""
    readable = [conn_id for conn_id in one.wxbank_conn_ids if reader.may_read_connection(conn_id)]
    shown = {**asdict(one), "wxbank_conn_ids": readable}
    return {name: value for name, value in shown.items() if value not in (None, [])}


def _used(today: Today, reader: Reader) -> dict[str, Any]:
    """The quota of a connection, whose name is for users who may read it."""
    is_readable = today.wxbank_conn_id is not None and reader.may_read_connection(today.wxbank_conn_id)
    return {**asdict(today), "wxbank_conn_id": today.wxbank_conn_id if is_readable else None}


def _docs() -> str | None:
    """Where the documentation of this package is, if the installation says so."""
    address: str = conf.get("wxbank", "docs_url", fallback="")
    return address if address.startswith(("https://", "http://")) else None


def _listed(listed: Listed) -> dict[str, Any]:
    return {
        "asked_at": listed.asked_at,
        "listed_at": listed.listed_at,
        "processing": listed.processing,
        "file_columns": columns(file_rows([], map(finished_file, listed.tasks))),
    }


def _json(**content: Any) -> JSONResponse:
    return JSONResponse(content, headers={**HEADERS, "Cache-Control": "no-store"})
