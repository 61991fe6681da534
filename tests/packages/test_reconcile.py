# SPDX-License-Identifier: Apache-2.0
"""Do WeChat Pay's counts add up to what was sent, file by file?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_wxbank.packages.counts import Counts, count, likely_mistake
from airflow_provider_wxbank.packages.reconcile import (
    Accounted,
    Difference,
    disagreement,
    finished_event,
    reconciled,
    sent_files,
)
from airflow_provider_wxbank.packages.tasks import UploadTask

PACKAGE = "8473295"


def tasks(*counts: tuple[int | None, int | None]) -> list[UploadTask]:
    return [
        UploadTask(str(number), PACKAGE, f"{number}.csv", status="FINISHED", success_count=matched, fail_count=failed)
        for number, (matched, failed) in enumerate(counts)
    ]


def sent(*rows: Any) -> Any:
    listed = [{"task_id": str(one), "filename": f"{one}.csv", "rows": number} for one, number in enumerate(rows)]
    return sent_files([{"tasks": listed}])


@pytest.mark.parametrize(
    ("counted", "rows", "unaccounted", "differing"),
    [
        ([(4, 1), (5, 0), (0, 2)], [5, 5, 2], 0, []),
        ([(4, 0), (5, 0), (2, 0)], [5, 5, 2], 1, [(0, 5, 4)]),
        # More than was sent is a difference, too, and hides no other one.
        ([(6, 0), (4, 0)], [5, 5], 2, [(0, 5, 6), (1, 5, 4)]),
        # WeChat Pay may leave a count out.
        ([(4, None), (None, None)], [4, 3], 3, [(1, 3, 0)]),
    ],
)
def test_every_file_is_compared(
    counted: list[Any], rows: list[int], unaccounted: int, differing: list[tuple[int, int, int]]
) -> None:
    finished = tasks(*counted)
    # As it comes out of a trigger's event.
    accounted = Accounted.read(json.loads(json.dumps(finished_event(finished)))["accounted"])
    counts, different = reconciled(count(finished), sent(*rows), accounted)
    assert (counts.rows, counts.unaccounted) == (sum(rows), unaccounted)
    assert different == tuple(Difference(str(one), f"{one}.csv", had, got) for one, had, got in differing)
    assert (disagreement(PACKAGE, counts, different) is None) is (unaccounted == 0)


def test_files_that_were_sent_with_other_counts_are_not_taken_for_one_another() -> None:
    finished = tasks((3, 0), (5, 0))
    counts, different = reconciled(count(finished), sent(5, 3), Accounted.of(finished))
    assert (counts.unaccounted, len(different)) == (4, 2)


@pytest.mark.parametrize("rows", [None, True, -1, "5", 5.0])
def test_without_the_rows_of_each_file_nothing_is_claimed(rows: object) -> None:
    finished = tasks((3, 0), (5, 0))
    counts, different = reconciled(count(finished), sent(3, rows), Accounted.of(finished))
    assert (counts.rows, counts.unaccounted, different) == (None, None, ())
    assert disagreement(PACKAGE, counts, different) is None


def test_an_event_of_6000_tasks_stays_small() -> None:
    usual = tasks(*[(5400, 100)] * 6000)
    assert len(json.dumps(finished_event(usual))) < 1000
    # As many files that differ as an event has room for, and more.
    some = tasks(*[(5400, 100)] * 5000, *[(number, 0) for number in range(1000)])
    assert len(json.dumps(finished_event(some))) < 30_000
    assert Accounted.read(finished_event(some)["accounted"]) == Accounted.of(some)
    many = tasks(*[(number, 0) for number in range(6000)])
    assert finished_event(many)["accounted"] is None
    counts, different = reconciled(count(many), sent(*range(5999), 6001), None)
    assert (counts.unaccounted, different) == (2, ())
    assert "in files that cannot be told" in (disagreement(PACKAGE, counts, different) or "")


def test_an_event_that_contradicts_itself_hides_nothing() -> None:
    """Its counts say that 3 of 20 were counted, and its accounts that all were."""
    counts = replace(count(tasks(*[(5, 0)] * 4)), success_count=3)
    found, different = reconciled(counts, sent(5, 5, 5, 5), Accounted(5, {}))
    assert (found.unaccounted, different) == (17, ())


def test_an_event_of_files_that_all_failed_stays_small() -> None:
    """Such as with a wrong key: just then it has to arrive."""
    failed = tasks(*[(0, 5500)] * 6000)
    event = finished_event(failed)
    assert len(json.dumps(event)) < 5000
    read = Counts.read(event["counts"])
    assert read.failed == 6000
    assert read.event(PACKAGE, ()).failed_files == 6000
    assert likely_mistake(read) == likely_mistake(count(failed))
    assert "Not one number matched in 6,000 files (0.csv, 1.csv, 2.csv, 3.csv, 4.csv, ...)" in str(likely_mistake(read))


def test_a_warning_of_very_many_files_names_some() -> None:
    finished = tasks(*[(4, 0)] * 50)
    counts, different = reconciled(count(finished), sent(*[5] * 50), Accounted.of(finished))
    text = disagreement(PACKAGE, counts, different) or ""
    assert "by 50 of 250 numbers: 0.csv (task 0): 5 rows, 4 counted; 1.csv" in text
    assert "; and 30 more" in text
    assert len(text) < 2000


@pytest.mark.parametrize(
    "damaged",
    [None, 5, {}, {"usual": "5", "others": {}}, {"usual": 5, "others": []}, {"usual": 5, "others": {"1": -1}}],
)
def test_what_is_no_account_is_none(damaged: object) -> None:
    assert Accounted.read(damaged) is None
