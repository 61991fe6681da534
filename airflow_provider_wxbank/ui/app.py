"""The page and its data, behind Airflow's own authorization: who may read a DAG sees its imports, and nobody else.

What WeChat Pay lists of a package is for who may read the connection that asks for it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.configuration import conf
from airflow.models.connection import Connection
from fastapi import Depends, FastAPI, HTTPException, Query, Response
from fastapi.responses import FileResponse, JSONResponse

from airflow_provider_wxbank.record import finished_rows
from airflow_provider_wxbank.ui import database
from airflow_provider_wxbank.ui.elsewhere import POLL_SECONDS, Packages
from airflow_provider_wxbank.ui.imports import Import, file_rows, imports
from airflow_provider_wxbank.wechatpay.errors import WxBankError

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

RUNS = 50
"""DAG runs in an answer."""

# What it is made of: a run, its tasks, and what they left in XComs.
SEES_DAGS = [
    Depends(requires_access_dag("GET", entity))
    for entity in (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
]


def new_app(packages: Packages | None = None) -> FastAPI:
    """The application that Airflow mounts at ``/wxbank``.

    :param packages: what is known of packages that were filled elsewhere.
    """
    # Each worker process of an API server asks for itself.
    packages = packages or Packages(POLL_SECONDS * max(conf.getint("api", "workers", fallback=1), 1))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])

    @app.get("/", include_in_schema=False)
    @app.get("/import", include_in_schema=False)
    @app.get("/package", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "page.html", headers={**HEADERS, "Cache-Control": "no-cache"})

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404, "Not found")
        return FileResponse(FILES[name], headers={**HEADERS, "Cache-Control": "no-cache"})

    @app.get("/api/imports", dependencies=SEES_DAGS)
    def list_imports(
        user: GetUserDep,
        session: SessionDep,
        before: int | None = None,
        limit: Annotated[int, Query(ge=1, le=RUNS)] = RUNS,
    ) -> Response:
        """The newest imports of the DAGs that the user may read."""
        dag_ids = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
        runs, has_more = database.recent_runs(session, dag_ids, limit, before)
        tasks = database.tasks_of(session, runs)
        now = time.time()
        found = [_shown(one, user) for run in runs for one, _ in imports(run, tasks[run.id], now)]
        return _json(
            now=now,
            imports=found,
            before=runs[-1].id if has_more else None,
            may_ask=_may_read_connection(None, user),
            connections=[one for one in database.connection_ids(session) if _may_read_connection(one, user)],
        )

    @app.get("/api/import", dependencies=SEES_DAGS)
    def one_import(user: GetUserDep, session: SessionDep, dag_id: str, run_id: str) -> Response:
        """The imports of a DAG run, each with its files."""
        run = None
        if dag_id in get_auth_manager().get_authorized_dag_ids(user=user, method="GET"):
            run = database.one_run(session, dag_id, run_id)
        if run is None:
            raise HTTPException(404, "There is no such DAG run, or you may not see it")
        now = time.time()
        tasks = database.tasks_of(session, [run])[run.id]
        found = [
            {**_shown(one, user), "file_rows": database.files_of(session, run, group)}
            for one, group in imports(run, tasks, now)
        ]
        return _json(now=now, imports=found)

    @app.get("/api/package")
    def one_package(user: GetUserDep, wxbank_conn_id: str, package_id: str) -> Response:
        """What WeChat Pay lists of a package, for who may read the connection."""
        if not _may_read_connection(wxbank_conn_id, user):
            raise HTTPException(403, "You may not read this connection")
        assert packages is not None
        try:
            listed = packages.listed(wxbank_conn_id, package_id)
        except WxBankError as failure:
            return JSONResponse({"detail": str(failure)}, 502, HEADERS)
        return _json(
            now=time.time(),
            package_id=package_id,
            wxbank_conn_id=wxbank_conn_id,
            asked_at=listed.asked_at,
            listed_at=listed.listed_at,
            interval=packages.interval,
            processing=listed.processing,
            file_rows=file_rows([], finished_rows(listed.tasks)),
        )

    return app


def _shown(one: Import, user: Any) -> dict[str, Any]:
    """An import without what is not known, and without connections that the user may not read."""
    readable = [conn_id for conn_id in one.wxbank_conn_ids if _may_read_connection(conn_id, user)]
    shown = {**asdict(one), "wxbank_conn_ids": readable}
    return {name: value for name, value in shown.items() if value not in (None, [])}


def _may_read_connection(conn_id: str | None, user: Any) -> bool:
    details = ConnectionDetails(conn_id=conn_id)
    if conn_id is not None and conf.getboolean("core", "multi_team", fallback=False):
        details = ConnectionDetails(conn_id=conn_id, team_name=Connection.get_team_name(conn_id))
    return get_auth_manager().is_authorized_connection(method="GET", details=details, user=user)


def _json(**content: Any) -> JSONResponse:
    return JSONResponse(content, headers={**HEADERS, "Cache-Control": "no-store"})
