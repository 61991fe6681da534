# SPDX-License-Identifier: Apache-2.0
"""What the users of ``make ui`` may see. Airflow's API server imports it."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

GUEST_DAGS = frozenset({"nightly_report"})
"""All that the guest may see."""


class UsersOfSomeDags(SimpleAuthManager):
    """Airflow's simple auth manager, in which everybody sees every DAG, with a guest who does not."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **options: Any) -> bool:
        """Whether a user may; without details, whether of any DAG."""
        if user.username == "guest" and details is not None and details.id and details.id not in GUEST_DAGS:
            return False
        return super().is_authorized_dag(user=user, details=details, **options)
