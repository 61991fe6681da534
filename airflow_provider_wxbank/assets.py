"""Number packages as assets (datasets, in Airflow 2): a finished import is an event that DAGs can be scheduled on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow.providers.common.compat.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.common.compat.sdk import Context

SCHEME = "wxbank"

OPENLINEAGE_NAMESPACE = "wxbank://api.mch.weixin.qq.com"
"""Namespace of number packages in OpenLineage, where they are called by their id."""

FINISHED_IMPORTS = AssetAlias("wxbank_finished_imports")
"""Outlet of every sensor, which may learn its package while it runs; its events are those of all packages."""


def number_package(package_id: str, extra: dict[str, Any] | None = None) -> Asset:
    """A number package as the asset ``wxbank://PACKAGE_ID``, to schedule DAGs on.

    :param package_id: 4 to 16 letters or digits, as the merchant platform shows it.
    :param extra: of the asset, not of its events.
    :raises InvalidInput: the package id is none.
    """
    return Asset(uri=_uri(package_id), extra=extra)


def watched_number_package(
    package_id: str, poll_interval: float = 60.0, wxbank_conn_id: str = "wxbank_default"
) -> Asset:
    """A number package that somebody else fills, watched by an :class:`.ImportFinishedTrigger` (Airflow 3).

    Declare a package in the same way wherever it is an asset: Airflow removes the watcher when it reads a DAG file
    that has the asset without.

    :param package_id: 4 to 16 letters or digits, as the merchant platform shows it.
    :param poll_interval: seconds between polls.
    :param wxbank_conn_id: connection of type ``wxbank``.
    :raises InvalidInput: the package id is none, or this is Airflow 2, which has no watchers.
    """
    from airflow_provider_wxbank.triggers import ImportFinishedTrigger

    trigger = ImportFinishedTrigger(package_id, poll_interval, wxbank_conn_id)
    from airflow.sdk import AssetWatcher

    return Asset(uri=_uri(package_id), watchers=[AssetWatcher(name=f"{SCHEME}_{package_id}", trigger=trigger)])


def finished_imports(context: Context) -> list[dict[str, Any]]:
    """The imports that triggered a DAG run, from sensors and watchers alike, oldest first.

    :return: ``[{"package_id", "tasks", "success_count", "fail_count", "success_user_count"}]``; empty if no import
        triggered the run.
    """
    triggering: Any = context.get("triggering_asset_events") or context.get("triggering_dataset_events") or {}
    # An event that came through an alias is listed under its alias, too.
    events = [
        event
        for asset, listed in triggering.items()
        if not isinstance(asset, AssetAlias) and urlsplit(getattr(asset, "uri", asset)).scheme == SCHEME
        for event in listed
    ]
    extras = [event.extra for event in sorted(events, key=lambda event: event.timestamp)]
    return [dict(extra["payload"] if extra.get("from_trigger") else extra) for extra in extras]


def write_event(context: Context, outlets: Iterable[Any], result: Mapping[str, Any]) -> None:
    """Make a finished import an event of its package, which Airflow writes when the task succeeds.

    :param outlets: of the task; if the user has made the package one of them, its event gets the counts.
    :param result: with ``package_id`` and the counts.
    """
    events = context.get("outlet_events")
    if events is None:  # run by hand, outside of Airflow
        return
    package = number_package(result["package_id"])
    for outlet in outlets:
        if getattr(outlet, "uri", None) == package.uri:
            events[outlet].extra = dict(result)
            return
    events[FINISHED_IMPORTS].add(package, extra=dict(result))


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

    return Dataset(namespace=OPENLINEAGE_NAMESPACE, name=urlsplit(asset.uri).netloc)


def _uri(package_id: str) -> str:
    # Airflow imports this module for any URI of any provider.
    from airflow_provider_wxbank.wechatpay.packages import tasks_path

    tasks_path(package_id)
    return f"{SCHEME}://{package_id}"
