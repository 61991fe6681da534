# SPDX-License-Identifier: Apache-2.0
"""Which tests may be skipped, where, and why: a test that is skipped everywhere is no test.

With ``WXBANK_AGREED_SKIPS_ONLY=1``, which ``.ci/run`` sets, any other skip is a failure. ``make test`` prints what was
skipped.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import version

import pytest

VARIABLE = "WXBANK_AGREED_SKIPS_ONLY"

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])


@dataclass(frozen=True, slots=True)
class Agreed:
    """Skips that are agreed on.

    :param tests: each a test, or a file that is skipped as a whole.
    :param reason: what pytest is told.
    :param below: the Airflow that no longer skips them.
    :param since: the first Airflow that skips them.
    """

    tests: frozenset[str]
    reason: str
    below: tuple[int, int] = (99, 0)
    since: tuple[int, int] = (0, 0)

    def covers(self, test: str, reason: str, airflow: tuple[int, ...] = AIRFLOW) -> bool:
        """Whether a skip is one of these.

        :param test: the id that pytest gives it.
        """
        return (
            bool(self.tests & {test.partition("[")[0], test.partition("::")[0]})
            and self.reason in reason
            and self.since <= airflow < self.below
        )


AGREED = (
    Agreed(frozenset({"tests/test_alerts.py"}), "there is no promtool (Debian: prometheus)"),
    Agreed(
        frozenset(
            {
                "tests/airflow/test_imports_command.py",
                "tests/airflow/test_page.py",
                "tests/airflow/test_plugin.py::test_the_page_is_in_the_navigation",
                "tests/airflow/test_plugin.py::test_a_path_of_airflow_is_in_every_address",
            }
        ),
        "Airflow before 3.1 has no place for the page",
        below=(3, 1),
    ),
    Agreed(
        frozenset({"tests/airflow/test_imports_command.py::test_an_airflow_without_records_says_which_one_has_them"}),
        "Airflow from 3.1 on has the records",
        since=(3, 1),
    ),
    Agreed(frozenset({"tests/airflow/test_record.py"}), "without the page nothing is recorded", below=(3, 1)),
    Agreed(
        frozenset(
            f"tests/airflow/test_assets.py::test_{name}"
            for name in (
                "each_import_of_somebody_else_is_told_of_with_its_own_counts",
                "a_restart_tells_of_nothing_again_where_the_asset_has_a_state",
                "a_watch_goes_on_after_an_outage_and_after_a_refusal",
                "a_watch_that_fails_leaves_nothing_to_the_collector",
                "a_watch_reads_a_connection_anew_that_was_wrong",
                "a_watched_package_has_a_watcher",
            )
        ),
        "Airflow 2 has no watchers",
        below=(3, 0),
    ),
    Agreed(
        frozenset({"tests/airflow/test_assets.py::test_airflow_2_says_that_it_has_no_watchers"}),
        "Airflow 3 has watchers",
        since=(3, 0),
    ),
    Agreed(
        frozenset(
            f"tests/airflow/test_retry_policy.py::test_{name}"
            for name in (
                "what_a_person_must_mend_fails_at_once",
                "what_may_pass_is_left_to_the_retries_of_the_task",
                "a_limit_of_the_rate_is_waited_for_longer_each_time",
                "a_used_up_quota_is_waited_for_until_the_next_day_in_shanghai",
                "a_policy_of_ones_own_is_kept",
            )
        ),
        "Airflow before 3.3 has no retry policies",
        below=(3, 3),
    ),
    Agreed(
        frozenset({"tests/system/test_dags.py::test_what_a_person_must_mend_is_not_tried_again"}),
        "Airflow before 3.3 tries again whatever the error was",
        below=(3, 3),
    ),
    Agreed(
        frozenset({"tests/system/test_dags.py::test_what_was_uploaded_is_kept_in_the_state_of_the_task"}),
        "Airflow before 3.3 has no state of tasks either",
        below=(3, 3),
    ),
    Agreed(
        frozenset({"tests/system/test_secrets.py::test_runs_under_a_scheduler_leave_no_number_and_no_key"}),
        "WXBANK_FULL=1 starts a scheduler of Airflow 3, which takes a minute",
    ),
)


def is_agreed(test: str, reason: str, airflow: tuple[int, ...] = AIRFLOW) -> bool:
    """Whether a test may be skipped for a reason."""
    return any(one.covers(test, reason, airflow) for one in AGREED)


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip that is not agreed on a failure, where that is asked for."""
    if os.environ.get(VARIABLE) != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not is_agreed(report.nodeid, reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}: this skip is not agreed on in tests/harness/agreed_skips.py"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that was run, or skipped."""
    report = yield
    refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that was read, or skipped."""
    report = yield
    refuse(report)
    return report
