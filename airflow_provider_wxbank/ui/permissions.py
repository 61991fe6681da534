# SPDX-License-Identifier: Apache-2.0
"""What a user may see of the page. Airflow's auth manager decides."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.configuration import conf
from airflow.models.connection import Connection
from airflow.models.dag import DagModel

# What an import is made of: a DAG, a run of it, its tasks, and what they left in XComs.
_PARTS = (None, DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)


class Reader:
    """The user who looks at the page, for one request. Each question to the auth manager is asked once."""

    def __init__(self, user: Any) -> None:
        self._user = user
        self._manager = get_auth_manager()
        self._has_teams = conf.getboolean("core", "multi_team", fallback=False)
        self._connections: dict[str | None, bool] = {}

    def may_read_imports(self) -> bool:
        """Whether the user may read imports at all, of whichever DAG."""
        return self._may_read_all([DagDetails()])

    def dags_with_imports(self, dag_ids: Collection[str]) -> list[str]:
        """Those of some DAGs of which the user may read everything that an import is made of."""
        return [details.id for details in self._readable([self._details(one) for one in dag_ids]) if details.id]

    def may_read_connection(self, conn_id: str | None) -> bool:
        """Whether the user may read a connection; with None, whether the user may read any."""
        if conn_id not in self._connections:
            team = Connection.get_team_name(conn_id) if self._has_teams and conn_id is not None else None
            details = ConnectionDetails(conn_id=conn_id, team_name=team)
            self._connections[conn_id] = self._manager.is_authorized_connection(
                method="GET", details=details, user=self._user
            )
        return self._connections[conn_id]

    def _readable(self, dags: Sequence[DagDetails]) -> list[DagDetails]:
        """Those that the user may read. An auth manager answers for all at once, so they are halved until all are."""
        if not dags or self._may_read_all(dags):
            return list(dags)
        if len(dags) == 1:
            return []
        middle = len(dags) // 2
        return self._readable(dags[:middle]) + self._readable(dags[middle:])

    def _may_read_all(self, dags: Sequence[DagDetails]) -> bool:
        requests: list[IsAuthorizedDagRequest] = [
            {"method": "GET", "access_entity": part, "details": details} for details in dags for part in _PARTS
        ]
        return self._manager.batch_is_authorized_dag(requests, user=self._user)

    def _details(self, dag_id: str) -> DagDetails:
        return DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id) if self._has_teams else None)
