# SPDX-License-Identifier: Apache-2.0
"""Number packages as assets (in Airflow 2: datasets). A finished import is an event that DAGs can be scheduled on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_wxbank._compat import HAS_ALIASES_EVERYWHERE

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.common.compat.sdk import BaseOperator, Context

SCHEME = "wxbank"

FINISHED_IMPORTS = AssetAlias("wxbank_finished_imports")
"""The alias for the packages of all finished imports (Airflow 3)."""

SENSOR_OUTLETS = (FINISHED_IMPORTS,) if HAS_ALIASES_EVERYWHERE else ()
"""The outlets that a sensor declares, since it may learn its package only when it runs."""


def number_package(package_id: str, extra: dict[str, Any] | None = None) -> Asset:
    """A number package as the asset ``wxbank://PACKAGE_ID``, to schedule DAGs on.

    :param package_id: 4 to 16 letters or digits, as the merchant platform shows it.
    :param extra: of the asset, not of its events.
    :raises InvalidInput: the package id is invalid.
    """
    return Asset(uri=_uri(package_id), extra=extra)


def watched_number_package(
    package_id: str, poll_interval: float = 60.0, wxbank_conn_id: str = "wxbank_default"
) -> Asset:
    """A number package that somebody else fills, watched by an :class:`.ImportFinishedTrigger` (Airflow 3).

    Declare a package in the same way wherever it is an asset: Airflow removes the watcher when it reads a DAG file
    that has the asset without it.

    :param package_id: 4 to 16 letters or digits, as the merchant platform shows it.
    :param poll_interval: seconds between polls.
    :param wxbank_conn_id: connection of type ``wxbank``.
    :raises InvalidInput: the package id is invalid, or this is Airflow 2, which has no watchers.
    """
    from airflow_provider_wxbank.triggers import ImportFinishedTrigger

    trigger = ImportFinishedTrigger(package_id, poll_interval, wxbank_conn_id)
    # Airflow 2 does not have it, as the trigger has just said with a better reason.
    from airflow.sdk import AssetWatcher

    return Asset(uri=_uri(package_id), watchers=[AssetWatcher(name=f"{SCHEME}_{package_id}", trigger=trigger)])


def finished_imports(context: Context) -> list[dict[str, Any]]:
    """The imports that triggered a DAG run, from sensors and watchers alike, oldest first.

    :return: ``[{"package_id", "tasks", "rows", "success_count", "fail_count", "success_user_count", "unaccounted"}]``,
        each as :class:`.TaskFinishedSensor` returns it, also with ``"receipt"`` if it wrote one; from a watcher,
        ``rows`` and ``unaccounted`` are None. Empty if no import triggered the run.
    """
    triggering: Any = context.get("triggering_asset_events") or context.get("triggering_dataset_events") or {}
    # An event that came through an alias is listed twice: under the asset, and under the alias, which is passed over.
    events = [
        event
        for asset, listed in triggering.items()
        if not isinstance(asset, AssetAlias) and urlsplit(getattr(asset, "uri", asset)).scheme == SCHEME
        for event in listed
    ]
    extras = [event.extra for event in sorted(events, key=lambda event: event.timestamp)]
    return [dict(extra["payload"] if extra.get("from_trigger") else extra) for extra in extras]


def write_event(context: Context, task: BaseOperator, result: Mapping[str, Any]) -> None:
    """Make a finished import an event of its package, which Airflow writes if the task succeeds.

    :param task: the task that runs. If the user has made the package one of its outlets, that event gets the counts.
    :param result: ``package_id`` and the counts.
    """
    events = context.get("outlet_events")
    if events is None:  # run by hand, outside of Airflow
        return
    package = number_package(result["package_id"])
    outlets = [outlet for outlet in task.outlets if getattr(outlet, "uri", None) == package.uri]
    if not outlets and FINISHED_IMPORTS in task.outlets:
        events[FINISHED_IMPORTS].add(package, extra=dict(result))
        return
    if not outlets:
        # It is not too late to add one: Airflow looks at the outlets only when the task has succeeded.
        outlets = [package]
        task.outlets = [*task.outlets, package]
    events[outlets[0]].extra = dict(result)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a ``wxbank`` URI for Airflow, and give it its one form.

    :raises ValueError: it is not ``wxbank://PACKAGE_ID``.
    """
    if uri.path not in ("", "/") or uri.query:
        raise ValueError(f"URI format {SCHEME}:// has a package id and nothing else, like {SCHEME}://8473295")
    _uri(uri.netloc)
    return uri._replace(path="")


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """The package as a dataset of OpenLineage."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    from airflow_provider_wxbank.reporting.lineage import NAMESPACE

    return Dataset(namespace=NAMESPACE, name=urlsplit(asset.uri).netloc)


def _uri(package_id: str) -> str:
    # Imported here, since Airflow imports this module for any URI of any provider.
    from airflow_provider_wxbank.packages.endpoints import tasks_path

    tasks_path(package_id)
    return f"{SCHEME}://{package_id}"
