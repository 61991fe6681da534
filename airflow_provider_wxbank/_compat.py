# SPDX-License-Identifier: Apache-2.0
"""Every difference between versions of Airflow that this package has to know, and until when.

What the common compat provider hides is not here. ``from`` names the version of Airflow that makes a part unnecessary
once it is the lowest one supported.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XCom, conf
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_2_PLUS

log = logging.getLogger(__name__)

HAS_PAGE = AIRFLOW_V_3_1_PLUS
"""Whether this Airflow can show the page (from 3.1). 3.0 has no place for it, and gives a plugin no session."""

SIGN_IN_KEEPS_ADDRESS = AIRFLOW_V_3_2_PLUS
"""Whether Airflow encodes the address to come back to after the sign-in (from 3.2). 3.1 appends it as it is, and loses
what follows an ``&``."""

HAS_ALIASES_EVERYWHERE = AIRFLOW_V_3_0_PLUS
"""Whether a task may have an asset alias as an outlet wherever it runs (from 3.0). In Airflow 2 the task fails where
the database does not know the alias: in ``airflow dags test``, and if the task is mapped."""

HAS_STRUCTLOG = AIRFLOW_V_3_0_PLUS
"""Whether Airflow logs with structlog (from 3.0)."""

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
    from airflow.sdk.definitions.context import render_template_to_string
    from airflow.sdk.io import attach, get_fs, has_fs
    from airflow.sdk.log import amask_secret
    from airflow.triggers.base import BaseEventTrigger

    HAS_WATCHERS = True
    HAS_RETRY_POLICIES = True
else:
    # From 3.0: triggers that watch an asset.
    try:
        from airflow.triggers.base import BaseEventTrigger
    except ImportError:
        from airflow.triggers.base import BaseTrigger as BaseEventTrigger

        HAS_WATCHERS = False
    else:
        HAS_WATCHERS = True

    # From 3.3: tasks decide which failures are retried, and when.
    try:
        from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
    except ImportError:
        RetryDecision, RetryPolicy = None, object
        HAS_RETRY_POLICIES = False
    else:
        HAS_RETRY_POLICIES = True

    # From 3.3: masking in an event loop. The triggerer of 3.1 dies of masking in a thread that has no tie to its loop;
    # that of asgiref has one.
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:
        from airflow.providers.common.compat.sdk import mask_secret
        from asgiref.sync import sync_to_async

        async def amask_secret(secret):
            await sync_to_async(mask_secret)(secret)

    # From 3.1: the place of Airflow's own rendering of a template as a text.
    if AIRFLOW_V_3_1_PLUS:
        from airflow.sdk.definitions.context import render_template_to_string
    else:
        from airflow.utils.helpers import render_template_to_string

    # From 3.1: the place of Airflow's own filesystems; a part of them was there in 3.0.
    if AIRFLOW_V_3_1_PLUS:
        from airflow.sdk.io import get_fs, has_fs
    else:
        from airflow.io import get_fs, has_fs
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.io import attach
    else:
        from airflow.io.store import attach

__all__ = [
    "HAS_ALIASES_EVERYWHERE",
    "HAS_PAGE",
    "HAS_RETRY_POLICIES",
    "HAS_STRUCTLOG",
    "HAS_WATCHERS",
    "SIGN_IN_KEEPS_ADDRESS",
    "BaseEventTrigger",
    "RetryDecision",
    "RetryPolicy",
    "allow_in_xcoms",
    "amask_secret",
    "asset_state_store",
    "attach",
    "get_fs",
    "has_fs",
    "metrics_client",
    "prepare_metrics",
    "render_template_to_string",
    "secrets_backends",
    "send_metrics",
    "task_state_store",
    "xcom_setter_of_triggers",
]


def allow_in_xcoms(*classes: type) -> None:
    """Let this process make classes from XComs, as ``[core] allowed_deserialization_classes`` does for all.

    Airflow makes no class from an XCom that it was not told to allow. From 3.3 it has ``allow_class`` for that; before
    there is only the set itself. Before 3.2 the module is in another place.
    """
    try:
        from airflow.sdk import serde
    except ImportError:
        from airflow.serialization import serde  # type: ignore[no-redef,attr-defined,unused-ignore]  # before 3.2

    allow = getattr(serde, "allow_class", None)
    for one in classes:
        if allow is not None:
            allow(one)
        else:
            serde._extra_allowed.add(f"{one.__module__}.{one.__qualname__}")


def task_state_store(context: Mapping[str, Any]) -> Any:
    """What keeps values from one try of a task to the next (from 3.3); None before."""
    return context.get("task_state_store")


def asset_state_store(trigger: object) -> Any:
    """What keeps values of a trigger that watches an asset (from 3.3); None before."""
    return getattr(trigger, "asset_state_store", None)


def xcom_setter_of_triggers() -> Callable[..., Awaitable[None]] | None:
    """What sets an XCom from a trigger (from 3.3); None before."""
    setter: Callable[..., Awaitable[None]] | None = getattr(XCom, "aset", None)
    return setter


def secrets_backends() -> list[Any]:
    """The secrets backends that Airflow looks for connections in; they are in another place since 3.0."""
    try:
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    except ImportError:
        from airflow.configuration import ensure_secrets_loaded

        return list(ensure_secrets_loaded())
    return list(ensure_secrets_backend_loaded())


SEND_SECONDS = 2.0
"""Seconds that a task waits at its end, at most, until OpenTelemetry's client has sent its metrics."""


@cache
def metrics_client() -> Any:
    """What Airflow itself sends metrics with: ``incr``, ``gauge``, ``timing``, ``timer``. It never fails for a network.

    Before 3.2 it sets itself up when it is used. From then on somebody has to do that in each process, or else nothing
    is sent; the module that :func:`allow_in_xcoms` imports does it for tasks, triggers and commands alike.
    """
    from airflow.providers.common.compat.sdk import Stats

    return Stats


def prepare_metrics() -> None:
    """Let Airflow's client look up its host and connect now: later it may be in an event loop, which it would hold."""
    # Whoever sends something is told if it does not work.
    with suppress(Exception):
        metrics_client().timer()


def send_metrics() -> None:
    """Send what OpenTelemetry's client has collected, in a process that may be about to end.

    Airflow sends it once a minute, and not when a task ends: tasks leave their processes without any farewell. Whatever
    fails here is a warning: this is the last thing that a task does, and must not take its result from it.
    """
    try:
        if not conf.getboolean("metrics", "otel_on", fallback=False):
            return
        from opentelemetry.metrics import get_meter_provider

        flush = getattr(get_meter_provider(), "force_flush", None)
        if flush is not None:
            thread = Thread(target=flush, name="wxbank-metrics", daemon=True)
            thread.start()
            thread.join(SEND_SECONDS)
    except Exception as failure:
        log.warning("Metrics were not sent: %s: %s", type(failure).__name__, failure)
