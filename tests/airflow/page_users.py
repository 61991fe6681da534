# SPDX-License-Identifier: Apache-2.0
"""Users who may not read all that an import is made of. Airflow's API server imports it."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

from tests.airflow.page_data import HIDDEN_DAG


class UsersOfParts(SimpleAuthManager):
    """Airflow's simple auth manager, with permissions by DAG and by part of it."""

    def is_authorized_dag(self, *, user: Any, access_entity: Any = None, details: Any = None, **options: Any) -> bool:
        """Whether a user may."""
        which, _, part = user.username.partition("-")
        if part == ("DAG" if access_entity is None else access_entity.name) and (
            which == "any" or (details is not None and details.id == HIDDEN_DAG)
        ):
            return False
        return super().is_authorized_dag(user=user, access_entity=access_entity, details=details, **options)
