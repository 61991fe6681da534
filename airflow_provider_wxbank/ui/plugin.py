# SPDX-License-Identifier: Apache-2.0
"""The plugin that puts the page "WeChat Pay packages" into Airflow's navigation.

Every worker, scheduler and DAG processor imports plugins. So this module imports only what Airflow has loaded before,
and the page itself only when the API server asks for it.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.configuration import conf

# A worker of Airflow 3.2 loads plugins with a manager of its own; the other one and common.compat are not loaded there.
if not TYPE_CHECKING and "airflow.sdk.plugins_manager" in sys.modules and "airflow.plugins_manager" not in sys.modules:
    from airflow.sdk.plugins_manager import AirflowPlugin
else:
    from airflow.plugins_manager import AirflowPlugin

NAME = "WeChat Pay packages"


class WxBankPlugin(AirflowPlugin):
    """Workers, and Airflow before 3.1, take only its name."""

    name = "wxbank"

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]  # made when it is asked for
        """The page and its data."""
        if not _is_on():
            return []
        from airflow_provider_wxbank.ui.app import new_app

        return [{"app": new_app(), "url_prefix": "/wxbank", "name": NAME}]

    @cached_property
    def external_views(self) -> list[Any]:  # type: ignore[override]  # made when it is asked for
        """The page's place in the navigation: under Browse."""
        if not _is_on():
            return []
        path = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return [
            {
                "name": NAME,
                "href": f"{path}/wxbank/",
                "destination": "nav",
                "category": "browse",
                "url_route": "wxbank",
                "icon": f"{path}/wxbank/static/icon.svg",
                "icon_dark_mode": f"{path}/wxbank/static/icon-dark.svg",
            }
        ]


def _is_on() -> bool:
    from airflow_provider_wxbank.links import page_is_on

    return page_is_on()
