# SPDX-License-Identifier: Apache-2.0
"""The settings that the connection of a simulator has."""

from __future__ import annotations

from typing import Any

from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings


def settings_of(simulator: Simulator, *, host: str | None = None, **extra: Any) -> Settings:
    """What its connection tells, with another host or other fields of its extra."""
    connection = simulator.airflow_connection()
    more = {**connection["extra"], **extra}
    return read_settings(connection["login"], connection["password"], host or connection["host"], more)
