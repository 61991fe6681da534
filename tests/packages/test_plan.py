# SPDX-License-Identifier: Apache-2.0
"""What an upload would do, found with few calls."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.packages.plan import MAX_ASKED, planned
from airflow_provider_wxbank.packages.upload import Upload
from airflow_provider_wxbank.packages.upload_once import upload_once
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import Refused
from tests.conftest import PACKAGE, NewClient
from tests.harness.files import outgoing, outgoing_file

WORKERS = 8
NOW = 1_764_000_000.0


def finds(simulator: Simulator) -> int:
    count = simulator.report()["requests"].get("find", 0)
    assert isinstance(count, int)
    return count


def interrupted_upload(simulator: Simulator, client: Client, files: int, after: int) -> int:
    """How many of so many files an upload sends that is refused after some of them."""
    simulator.add_fault(Fault("forbidden", on="upload", after=after))
    with pytest.raises(Refused):
        Upload(client, PACKAGE, max_workers=WORKERS).run(outgoing(client, files))
    there = simulator.report()["accepted_uploads"]
    assert after <= there < files
    return int(there)


@pytest.mark.parametrize("after", [0, 3, 137, 290])
def test_what_an_interrupted_upload_has_sent_is_counted_with_few_calls(
    simulator: Simulator, new_client: NewClient, after: int
) -> None:
    client = new_client(simulator)
    there = interrupted_upload(simulator, client, 300, after)
    before = finds(simulator)
    assert planned(client, PACKAGE, outgoing(client, 300), WORKERS, NOW).listed_files == there
    # Halving 300 files takes 9 questions.
    assert finds(simulator) - before <= 9 + 2 * WORKERS


def test_a_short_list_is_asked_for_file_by_file(simulator: Simulator, new_client: NewClient) -> None:
    """Of a list that was corrected after its upload, only the corrected files are missing, wherever they are."""
    client = new_client(simulator)
    for index in {*range(20)} - {0, 9}:
        upload_once(client, PACKAGE, outgoing_file(client, index))
    plan = planned(client, PACKAGE, outgoing(client, 20), WORKERS, NOW)
    assert (plan.listed_files, plan.is_guess) == (18, False)


def test_of_a_long_list_it_is_said_that_it_is_a_guess(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    assert planned(client, PACKAGE, outgoing(client, MAX_ASKED + 1), WORKERS, NOW).is_guess
    assert not planned(client, PACKAGE, outgoing(client, MAX_ASKED), WORKERS, NOW).is_guess


def test_files_that_are_missing_between_others_are_not_counted(simulator: Simulator, new_client: NewClient) -> None:
    """So an upload of several files at a time may have ended."""
    client = new_client(simulator)
    there = {*range(10), 12, 14} - {7}
    for index in there:
        upload_once(client, PACKAGE, outgoing_file(client, index))
    assert planned(client, PACKAGE, outgoing(client, MAX_ASKED + 50), WORKERS, NOW).listed_files == len(there)


@pytest.mark.parametrize(("quota", "files", "days"), [(6000, 3, 1), (3, 3, 1), (2, 3, 2), (1, 3, 3)])
def test_the_quota_says_on_how_many_days(
    simulator: Simulator, new_client: NewClient, quota: int, files: int, days: int
) -> None:
    client = new_client(simulator, {"daily_file_quota": quota})
    plan = planned(client, PACKAGE, outgoing(client, files), WORKERS, NOW)
    assert (plan.files_left_today, plan.days) == (quota, days)
