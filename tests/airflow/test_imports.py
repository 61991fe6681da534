# SPDX-License-Identifier: Apache-2.0
"""How far an import is, from what its tasks recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_wxbank.reporting.events import FinishedFile, Step
from airflow_provider_wxbank.reporting.record import VERSION, Failure, MissingFile, Sums, UploadedFile
from airflow_provider_wxbank.ui import pace
from airflow_provider_wxbank.ui.files import FileRow, file_rows
from airflow_provider_wxbank.ui.imports import imports, state_of, step_state
from airflow_provider_wxbank.ui.pace import expected_end
from airflow_provider_wxbank.ui.tasks import Run, Task
from airflow_provider_wxbank.ui.today import Today, used_today

NOW = 10_000.0
RUN = Run(1, "import_users", "manual__1", "running", 0.0)

EXPORTED: dict[str, Any] = {"manifest": "/out/manifest.json", "files": 20, "rows": 110_000, "skipped": 3}
UPLOADED: dict[str, Any] = {"package_id": "8473295", "manifest": "/out/manifest.json", "files": 20, "rows": 110_000}


def task(
    step: Step,
    state: str | None,
    map_index: int = -1,
    begin: float | None = None,
    task_id: str | None = None,
    **record: Any,
) -> Task:
    """A task with a record, if it has told anything."""
    told = Sums.read({"version": VERSION, "step": step, **record}) if record else None
    return Task(task_id or step, map_index, step, state, begin, begin, told, bool(record) and told is None)


def one(*tasks: Task, run: Run = RUN) -> Any:
    ((found, _),) = imports(run, tasks, NOW)
    return found


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "none"),
        ([None], "todo"),
        (["queued"], "todo"),
        (["running"], "running"),
        (["deferred"], "running"),
        (["up_for_reschedule"], "running"),
        (["success", None], "running"),
        (["success", "success"], "done"),
        (["success", "skipped"], "done"),
        (["skipped"], "skipped"),
        (["running", "up_for_retry"], "retrying"),
        (["success", "failed"], "failed"),
        (["upstream_failed"], "failed"),
    ],
)
def test_the_state_of_a_step_is_that_of_its_tasks(states: list[str | None], expected: str) -> None:
    assert step_state(states) == expected


@pytest.mark.parametrize(
    ("export", "upload", "wait", "expected"),
    [
        ("running", "todo", "todo", "exporting"),
        ("done", "todo", "todo", "exported"),
        ("done", "running", "todo", "uploading"),
        ("running", "running", "todo", "uploading"),
        ("done", "done", "todo", "processing"),
        ("done", "done", "running", "processing"),
        ("done", "done", "none", "uploaded"),
        ("none", "none", "running", "processing"),
        ("done", "done", "done", "finished"),
        ("done", "failed", "failed", "failed"),
        ("skipped", "skipped", "skipped", "skipped"),
        ("done", "retrying", "todo", "uploading"),
    ],
)
def test_the_state_of_an_import_is_that_of_its_steps(export: Any, upload: Any, wait: Any, expected: str) -> None:
    assert state_of({"export": export, "upload": upload, "wait": wait}, run_is_over=False) == expected


def test_an_upload_under_way_says_how_many_of_the_exported_files_are_with_wechat_pay() -> None:
    found = one(
        task("export", "success", **EXPORTED),
        task("upload", "running", begin=9_000.0, **UPLOADED | {"files": 5, "rows": 27_500}),
        task("wait", None),
    )
    assert (found.state, found.package_id) == ("uploading", "8473295")
    assert (found.files, found.uploaded, found.finished) == (20, 5, None)
    assert (found.rows, found.rows_uploaded, found.skipped) == (110_000, 27_500, 3)
    assert found.success_count is None


def test_a_wait_says_how_many_files_are_finished_at_least() -> None:
    found = one(
        task("export", "success", **EXPORTED),
        task("upload", "success", begin=5_000.0, **UPLOADED),
        task("wait", "deferred", package_id="8473295", tasks=20, processing=15, at=9_900),
    )
    assert (found.state, found.finished) == ("processing", 5)
    # A quarter in 4,900 seconds.
    assert found.expected == 5_000.0 + 4 * 4_900.0


def test_a_finished_import_has_the_counts_of_wechat_pay() -> None:
    counts: dict[str, Any] = {
        "tasks": 20,
        "success_count": 100_000,
        "fail_count": 10_000,
        "success_user_count": 101_000,
    }
    found = one(
        task("export", "success", **EXPORTED),
        task("upload", "success", **UPLOADED),
        task("wait", "success", package_id="8473295", tasks=20, processing=0, counts={**counts, "failed_files": 1}),
    )
    assert (found.state, found.finished, found.expected) == ("finished", 20, None)
    assert (found.success_count, found.fail_count, found.success_user_count) == (100_000, 10_000, 101_000)
    assert found.failed_files == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "finished"),
        ({"success_count": 90_001, "fail_count": 9_999}, "finished"),
        ({"success_count": 66_300, "fail_count": 33_700}, "unmatched"),
        ({"success_count": 0, "fail_count": 100_000}, "unmatched"),
        ({"unaccounted": 0}, "finished"),
        ({"unaccounted": 37}, "unaccounted"),
        ({"success_count": 66_300, "fail_count": 33_700, "unaccounted": 1}, "unaccounted"),
    ],
)
def test_what_is_finished_is_not_always_well(changes: dict[str, int], expected: str) -> None:
    counts = {"tasks": 20, "success_count": 100_000, "fail_count": 0, "success_user_count": 1, "failed_files": 0}
    found = one(
        task("upload", "success", **UPLOADED),
        task("wait", "success", package_id="8473295", tasks=20, processing=0, counts={**counts, **changes}),
    )
    assert (found.state, found.expected, found.stalled_since) == (expected, None, None)


def failure(step: str, error: str = "Refused", text: str | None = "no", at: int = 100) -> Failure | None:
    told = {"step": step, "error": error, "kind": "Refused", "text": text, "is_lasting": True, "at": at}
    return Failure.read({"version": VERSION, **told})


def test_a_failure_is_told_by_the_task_or_else_by_its_state() -> None:
    begun = replace(task("upload", "failed", begin=50.0, **UPLOADED), try_number=2, max_tries=3)
    (told,) = one(replace(begun, failure=failure("upload"))).failed_tasks
    assert (told.cause, told.error, told.text, told.at) == ("told", "Refused", "no", 100)
    assert (told.try_number, told.tries, told.will_retry) == (2, 4, False)
    (killed,) = one(begun).failed_tasks
    assert (killed.cause, killed.error, killed.text, killed.at) == ("ended", None, None, 50.0)
    (never,) = one(task("upload", "failed"), task("wait", "upstream_failed")).failed_tasks
    assert (never.cause, never.step) == ("not_begun", "upload")
    (before,) = one(task("upload", "upstream_failed"), task("wait", "upstream_failed")).failed_tasks
    assert (before.cause, before.step) == ("upstream", "upload")
    (again,) = one(replace(begun, state="up_for_retry", failure=failure("upload"))).failed_tasks
    assert again.will_retry
    assert one(task("upload", "success", **UPLOADED)).failed_tasks == []


def test_of_many_that_fail_alike_a_few_are_told_and_every_reason_first() -> None:
    alike = [replace(task("upload", "failed", index, **UPLOADED), failure=failure("upload")) for index in range(200)]
    other = replace(alike[150], failure=failure("upload", "TryLater", "later"))
    found = one(*alike[:150], other, *alike[151:])
    assert [each.map_index for each in found.failed_tasks] == [0, 150, 1, 2, 3]
    assert found.more_failed_tasks == 195


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        ({"since": 5_100, "at": 9_990}, 5_100),
        ({"since": 5_300, "at": 9_990}, None),
        # What was seen last may be older than what was uploaded last.
        ({"since": 100, "at": 9_990}, 5_000.0),
        ({"since": 5_100, "at": 9_990, "counts": None, "tasks": 20}, 5_100),
    ],
)
def test_a_wait_in_which_nothing_was_finished_for_long_stands_still(wait: dict[str, Any], expected: object) -> None:
    waiting = task(
        "wait", "up_for_reschedule", begin=4_000.0, package_id="8473295", processing=15, **{"tasks": 20} | wait
    )
    found = one(task("upload", "success", begin=5_000.0, **UPLOADED), waiting)
    assert found.stalled_since == expected
    assert one(replace(waiting, state="up_for_retry")).stalled_since is None


def test_a_deferred_wait_that_nothing_is_heard_of_stands_still_where_triggers_can_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = task("wait", "deferred", begin=100.0, package_id="8473295", processing=15, tasks=20, since=200, at=200)
    monkeypatch.setattr(pace, "xcom_setter_of_triggers", lambda: print)
    assert one(waiting).stalled_since == 200
    monkeypatch.setattr(pace, "xcom_setter_of_triggers", lambda: None)
    assert one(waiting).stalled_since is None


def test_an_upload_without_a_file_for_a_quarter_of_an_hour_stands_still() -> None:
    half = UPLOADED | {"files": 5, "rows": 27_500, "at": 9_000, "since": 9_000}
    assert one(task("upload", "running", begin=8_000.0, **half)).stalled_since == 9_000
    assert one(task("upload", "running", begin=9_200.0, **half)).stalled_since is None
    assert one(task("upload", "success", begin=8_000.0, **half)).stalled_since is None


def test_numbers_an_hour_are_those_that_were_processed() -> None:
    many = UPLOADED | {"files": 400, "rows": 2_200_000, "total_files": 400, "total_rows": 2_200_000}
    half: dict[str, Any] = {"package_id": "8473295", "tasks": 400, "processing": 200, "at": 8_600}
    upload = task("upload", "success", begin=5_000.0, **many)
    assert one(upload, task("wait", "running", **half)).numbers_an_hour == 1_100_000
    # Of a few files only the 40 minutes of a file could be told.
    assert one(upload, task("wait", "running", **half | {"processing": 300})).numbers_an_hour is None


def used(**facts: Any) -> list[Today]:
    begin = facts.pop("begin")
    sums = Sums.read({"version": VERSION, "step": "upload", "wxbank_conn_id": "bank", "quota": 6000, **facts})
    assert sums is not None
    return used_today([(sums, begin), (replace(sums, step="wait"), begin)], 1_000.0)


def test_todays_files_are_those_of_todays_runs_and_what_older_runs_have_sent_today() -> None:
    assert used(begin=1_001.0, files=20, day=1_000, sent=5) == [Today("bank", 20, 6000)]
    assert used(begin=999.0, files=20, day=1_000, sent=5) == [Today("bank", 5, 6000)]
    assert used(begin=999.0, files=20, day=0, sent=5) == []


def test_mapped_tasks_are_summed_up() -> None:
    found = one(
        *(task("export", "success", part, **EXPORTED) for part in range(3)),
        *(task("upload", "success", part, **UPLOADED) for part in range(2)),
        task("upload", "running", 2, begin=9_000.0, **UPLOADED | {"files": 1, "rows": 5_500}),
        task("wait", None),
    )
    assert (found.state, found.files, found.uploaded, found.rows) == ("uploading", 60, 41, 330_000)


def test_a_total_is_not_told_before_every_export_is_done() -> None:
    found = one(task("export", "success", 0, **EXPORTED), task("export", "running", 1), task("upload", None))
    assert (found.state, found.files, found.rows) == ("exporting", None, None)


def test_files_that_were_never_exported_have_the_totals_of_their_upload() -> None:
    record = UPLOADED | {"manifest": None, "files": 2, "rows": 11_000, "total_files": 3, "total_rows": 15_000}
    found = one(task("upload", "running", begin=9_000.0, **record))
    assert (found.files, found.rows) == (3, 15_000)


def test_a_wait_without_an_upload_counts_what_it_waits_for() -> None:
    counts: dict[str, Any] = {
        "tasks": 7,
        "success_count": 30,
        "fail_count": 5,
        "success_user_count": 31,
        "failed_files": 0,
    }
    found = one(task("wait", "success", package_id="9001177", tasks=None, counts=counts))
    # 5 of 35 are more than a tenth.
    assert (found.state, found.files, found.uploaded, found.finished, found.rows) == ("unmatched", 7, 7, 7, 35)


def test_a_run_that_fills_two_packages_is_two_imports_each_with_its_own_export() -> None:
    other: dict[str, Any] = {"package_id": "9001177", "manifest": "/other/manifest.json", "files": 1, "rows": 10}
    found = imports(
        RUN,
        [
            task("export", "success", **EXPORTED),
            task("export", "success", task_id="export_others", manifest=f"/other/manifest.json#{'1f' * 8}", rows=10),
            task("upload", "success", **UPLOADED),
            task("upload", "success", task_id="upload_others", **other),
        ],
        NOW,
    )
    assert [(one.package_id, one.rows) for one, _ in found] == [("8473295", 110_000), ("9001177", 10)]
    assert [[task.task_id for task in tasks] for _, tasks in found] == [
        ["export", "upload"],
        ["export_others", "upload_others"],
    ]


@pytest.mark.parametrize(
    ("record", "unreadable"),
    [({}, 0), ({"files": "20"}, 1), ({"counts": 7}, 1), ({"counts": {"tasks": None}}, 1), ({"at": None}, 0)],
)
def test_what_a_record_does_not_say_is_not_known(record: dict[str, Any], unreadable: int) -> None:
    found = one(task("upload", "success"), task("wait", "running", **record))
    assert (found.state, found.uploaded, found.finished, found.success_count) == ("processing", None, None, None)
    assert (found.files, found.rows, found.expected, found.unreadable) == (None, None, None, unreadable)


def test_the_counts_of_a_wait_that_cannot_be_read_are_missing_from_the_sum_so_there_is_none() -> None:
    counts = {"tasks": 20, "success_count": 5, "fail_count": 1, "success_user_count": 5, "failed_files": 0}
    found = one(
        task("upload", "success", **UPLOADED),
        task("wait", "success", 0, counts=counts),
        task("wait", "success", 1, counts="s3://xcoms/elsewhere"),
    )
    assert (found.state, found.uploaded, found.finished, found.success_count) == ("finished", 20, None, None)


def test_an_upload_that_has_not_begun_has_uploaded_nothing() -> None:
    found = one(task("export", "success", **EXPORTED), task("upload", None))
    assert (found.state, found.files, found.uploaded, found.rows_uploaded) == ("exported", 20, 0, 0)


@pytest.mark.parametrize(
    ("rows", "share", "seen_at", "expected"),
    [
        (5_500, 0.0, None, 2_400.0),  # 40 minutes for one file
        (1_300_000, 0.0, None, 3_600.0),  # 1.3 million numbers an hour
        (13_000_000, 0.05, 1_000.0, 36_000.0),  # too few to tell by
        (13_000_000, 0.5, 9_000.0, 18_000.0),  # faster than the guide
    ],
)
def test_the_end_is_expected_by_the_guide_and_then_by_what_was_seen(
    rows: int, share: float, seen_at: float | None, expected: float
) -> None:
    assert expected_end(0.0, 0.0, rows, share, seen_at) == expected


def test_files_have_what_was_uploaded_and_what_was_counted() -> None:
    rows = file_rows(
        [UploadedFile("a.csv", "1", 5500, 100), UploadedFile("b.csv", "2", 5500, None)],
        [FinishedFile("2", "b.csv", 90, 2500, 5000, 500, 5100), FinishedFile("3", "c.csv", 95, None, 7, 1, 8)],
    )
    assert rows == [
        FileRow("a.csv", "1", 5500, 100),
        FileRow("b.csv", "2", 5500, 90, 2500, 5000, 500, 5100),
        FileRow("c.csv", "3", 8, 95, None, 7, 1, 8),
    ]


def test_files_that_were_not_uploaded_come_last_and_none_twice() -> None:
    missing = [MissingFile("a.csv"), MissingFile("b.csv")]
    assert file_rows([UploadedFile("a.csv", "1", 10, 5)], [], missing) == [
        FileRow("a.csv", "1", 10, 5),
        FileRow("b.csv", None, None, None),
    ]
