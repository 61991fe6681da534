# SPDX-License-Identifier: Apache-2.0
"""What of a task is kept and told while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_wxbank.reporting.events import Ended, FileUploaded, PollMade, UploadPlanned
from airflow_provider_wxbank.reporting.progress import UploadStore
from airflow_provider_wxbank.reporting.record import WAIT_SECONDS, Sums, WaitNews

PACKAGE = "8473295"


class Store(dict[str, Any]):
    """Airflow's task state store, as far as it is used."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def uploaded(name: str, done: int) -> FileUploaded:
    return FileUploaded(
        PACKAGE, name, f"id-{name}", 10, adopted=False, done_files=done, done_rows=10 * done, processing_seconds=1
    )


def test_a_later_try_knows_what_an_earlier_one_uploaded() -> None:
    kept = Store()
    store = UploadStore(kept, PACKAGE)
    store(UploadPlanned(PACKAGE, 3, 30, None))
    store(uploaded("a.csv", 1))
    store(uploaded("b.csv", 2))
    store(Ended("upload"))
    assert UploadStore(kept, PACKAGE).uploaded_before() == {"a.csv": "id-a.csv", "b.csv": "id-b.csv"}
    assert UploadStore(kept, "34021").uploaded_before() == {}


@pytest.mark.parametrize("damaged", [{"package_id": PACKAGE}, {"package_id": PACKAGE, "tasks": ["x"]}, {}])
def test_a_damaged_entry_costs_work_and_nothing_else(damaged: dict[str, Any]) -> None:
    """WeChat Pay is asked for what the store does not know."""
    kept = Store({"uploaded-0": damaged, "uploaded-1": {"package_id": PACKAGE, "tasks": {"b.csv": "2"}}})
    assert UploadStore(kept, PACKAGE).uploaded_before() == {"b.csv": "2"}


def test_a_wait_is_recorded_when_it_comes_on_and_now_and_then() -> None:
    now = 1000.0
    news, sums = WaitNews(lambda: now), Sums("wait", package_id=PACKAGE)

    def poll(unfinished: int | None) -> Sums | None:
        return news.news(sums, PollMade(PACKAGE, 5, unfinished, "note"))

    first = poll(9)
    # No more can be unfinished than are waited for.
    assert first is not None
    assert (first.processing, first.tasks, first.at) == (5, 5, 1000)
    assert poll(7) is None
    assert poll(None) is None
    less = poll(3)
    assert less is not None
    assert less.processing == 3
    now += WAIT_SECONDS - 1
    assert poll(3) is None
    now += 1
    assert poll(3) is not None
