# SPDX-License-Identifier: Apache-2.0
"""What the plugin costs those who only load it, and what it gives the API server."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_2_PLUS

from airflow_provider_wxbank._compat import HAS_PAGE
from airflow_provider_wxbank.links import WxBankImportLink, import_url, page_is_on
from airflow_provider_wxbank.ui.plugin import WxBankPlugin

# What a worker has loaded when it loads plugins.
WORKER = "airflow.plugins_manager"
if AIRFLOW_V_3_2_PLUS:
    WORKER = "airflow.sdk.execution_time.task_runner, airflow.sdk.plugins_manager"

only_with_page = pytest.mark.skipif(not HAS_PAGE, reason="Airflow before 3.1 has no place for the page")


def test_a_worker_that_loads_the_plugin_loads_nothing_that_it_had_not_loaded() -> None:
    code = (
        f"import sys, {WORKER}\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_wxbank.ui.plugin import WxBankPlugin\n"
        "plugin = WxBankPlugin()\n"
        "print(plugin.macros, plugin.listeners, *sorted(set(sys.modules) - before))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    macros, listeners, *loaded = shown.splitlines()[-1].split()
    assert (macros, listeners) == ("[]", "[]")
    ours = {"airflow_provider_wxbank.ui", "airflow_provider_wxbank.ui.plugin"}
    assert set(loaded) - {"airflow_provider_wxbank"} == ours


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    from airflow import plugins_manager

    manager: Any = plugins_manager
    plugins_manager.ensure_plugins_loaded()
    plugins = manager._get_plugins()[0] if AIRFLOW_V_3_2_PLUS else manager.plugins
    assert "wxbank" in {plugin.name for plugin in plugins or ()}


@only_with_page
@pytest.mark.filterwarnings("ignore")  # Airflow's own, when it imports its API server
def test_the_page_is_in_the_navigation() -> None:
    plugin = WxBankPlugin()
    (view,) = plugin.external_views
    assert (view["name"], view["destination"]) == ("WeChat Pay packages", "nav")
    assert [app["url_prefix"] for app in plugin.fastapi_apps] == ["/wxbank"]


@only_with_page
def test_a_path_of_airflow_is_in_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://bank.example/airflow/")
    (view,) = WxBankPlugin().external_views
    assert view["href"] == "/airflow/wxbank/"
    assert import_url("import_users", "manual__1+00:00") == (
        "https://bank.example/airflow/plugin/wxbank/airflow/wxbank/import?dag_id=import_users&run_id=manual__1%2B00%3A00"
    )


def test_one_setting_switches_the_page_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WXBANK__PAGE", "False")
    plugin = WxBankPlugin()
    assert not page_is_on()
    assert (plugin.external_views, plugin.fastapi_apps) == ([], [])
    assert WxBankImportLink().get_link(None, ti_key=None) == ""  # type: ignore[arg-type]
