# SPDX-License-Identifier: Apache-2.0
"""Every file once, whatever fails: uploads against a simulator that misbehaves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_wxbank.agreements.outgoing import OutgoingFile
from airflow_provider_wxbank.packages.endpoints import create_task
from airflow_provider_wxbank.packages.pace import processing_seconds
from airflow_provider_wxbank.packages.upload import Upload
from airflow_provider_wxbank.packages.upload_once import MAX_POSTS, Uploaded, upload_once
from airflow_provider_wxbank.reporting.events import Event, FileUploaded, UploadPlanned
from airflow_provider_wxbank.simulator import Fault, Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    OutcomeUnknown,
    QuotaReached,
    Refused,
    TryLater,
    Unauthorized,
    WxBankError,
)
from tests.conftest import PACKAGE, NewClient, NewSimulator, numbers
from tests.harness.files import BANK_TYPE, agreement_file, outgoing, outgoing_file, outgoing_of


def upload_all(client: Client, count: int, **options: Any) -> list[Uploaded]:
    options.setdefault("sleep", lambda _: None)
    return Upload(client, PACKAGE, **options).run(outgoing(client, count))


def assert_every_number_once(simulator: Simulator, files: int, rows: int = 2) -> dict[str, Any]:
    """Each number of these files is in the package once, in one task a file."""
    report = simulator.report()
    package = report["packages"][PACKAGE]
    wanted = [number for index in range(files) for number in numbers(rows, index * 10_000)]
    assert package["numbers_digest"] == numbers_digest(wanted)
    assert package["lines"] == package["distinct_numbers"] == len(wanted)
    assert len(package["tasks"]) == files
    return report


def test_a_file_is_one_post(simulator: Simulator, new_client: NewClient) -> None:
    uploaded = upload_all(new_client(simulator), 20)
    assert [one.filename for one in uploaded] == [f"file_{index:05d}.csv" for index in range(20)]
    assert not any(one.adopted for one in uploaded)
    report = assert_every_number_once(simulator, 20)
    assert report["requests"]["upload"] == 20
    # Only the first files are asked for: who ran before would have left them.
    assert report["requests"]["find"] <= 16


def test_uploads_run_some_at_a_time(new_simulator: NewSimulator, new_client: NewClient) -> None:
    simulator = new_simulator(latency_seconds=0.05)
    held = 0
    most_held = 0
    lock = threading.Lock()
    client = new_client(simulator)

    def files() -> Iterator[OutgoingFile]:
        nonlocal held, most_held
        for index in range(24):
            with lock:
                held += 1
                most_held = max(most_held, held)
            yield outgoing_file(client, index)

    def ended(event: Event) -> None:
        nonlocal held
        with lock:
            held -= isinstance(event, FileUploaded)

    Upload(client, PACKAGE, max_workers=4, tell=ended).run(outgoing_of(files()))
    assert simulator.report()["max_concurrent_uploads"] <= 4
    assert most_held <= 5
    assert_every_number_once(simulator, 24)


@pytest.mark.parametrize(
    "kind",
    [
        "drop",
        "reset",
        "internal-error",
        "bad-gateway",
        "gateway-401",
        "gateway-403",
        "gateway-404",
        "gateway-407",
        "gateway-413",
        "redirect",
        "unsigned-quota",
        "unsigned-sign-error",
        "replay",
        "accepted",
        "unsigned",
        "tampered",
    ],
)
@pytest.mark.parametrize("commit", [True, False])
def test_every_third_answer_is_lost_and_every_number_is_there_once(
    simulator: Simulator, new_client: NewClient, kind: str, commit: bool
) -> None:
    client = new_client(simulator)
    simulator.add_fault(Fault(kind, on="upload", every=3, commit=commit))
    for _ in range(3):
        try:
            upload_all(client, 20, max_workers=8)
        except OutcomeUnknown:
            # One file met the fault six times in a row; Airflow would retry.
            continue
        break
    report = assert_every_number_once(simulator, 20)
    assert report["faults"][kind] >= 6


def test_what_was_taken_although_its_answer_was_lost_is_adopted_and_told(
    simulator: Simulator, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.add_fault(Fault("drop", on="upload", every=3, commit=True))
    with caplog.at_level(logging.INFO):
        uploaded = upload_all(new_client(simulator), 9, max_workers=1)
    assert [one.filename for one in uploaded if one.adopted] == [
        "file_00002.csv",
        "file_00005.csv",
        "file_00008.csv",
    ]
    for one in uploaded:
        told = f"Adopted {one.filename}: it is there already as task {one.task_id}" in caplog.text
        assert told is one.adopted
    assert "6 files uploaded, 3 adopted, 0 failed" in caplog.text
    assert simulator.report()["requests"]["upload"] == 9


@pytest.mark.parametrize("done", [1, 7, 8, 13, 20])
def test_a_second_run_sends_only_what_is_missing(simulator: Simulator, new_client: NewClient, done: int) -> None:
    client = new_client(simulator)
    upload_all(client, done)
    uploaded = upload_all(client, 20)
    assert sum(one.adopted for one in uploaded) == done
    report = assert_every_number_once(simulator, 20)
    assert set(report["whole_bodies"].values()) == {1}


def test_gaps_before_the_last_uploaded_file_are_filled(simulator: Simulator, new_client: NewClient) -> None:
    """A killed run with four workers leaves up to three holes: the last file that is there had a worker, too."""
    client = new_client(simulator)
    for index in (0, 2, 4, 5, 7, 8):
        create_task(client, PACKAGE, *agreement_file(client, index))
    upload_all(client, 12, max_workers=4)
    report = assert_every_number_once(simulator, 12)
    assert set(report["whole_bodies"].values()) == {1}


def test_a_file_that_exists_although_nobody_expected_it_is_adopted(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    create_task(client, PACKAGE, *agreement_file(client, 15))
    uploaded = upload_all(client, 16, max_workers=2)
    assert [one.adopted for one in uploaded] == [False] * 15 + [True]
    assert_every_number_once(simulator, 16)


def test_a_file_that_is_taken_but_listed_late_is_waited_for(new_simulator: NewSimulator, new_client: NewClient) -> None:
    now = [1_800_000_000.0]
    simulator = new_simulator(listing_delay_seconds=5.0, clock=lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    client = new_client(simulator, clock=lambda: now[0], sleep=sleep)
    simulator.add_fault(Fault("drop", on="upload", times=1, commit=True))
    uploaded = upload_once(client, PACKAGE, outgoing_file(client, 0), sleep)
    assert uploaded.adopted
    assert_every_number_once(simulator, 1)


def test_a_file_that_is_never_listed_can_be_tried_later(new_simulator: NewSimulator, new_client: NewClient) -> None:
    simulator = new_simulator(listing_delay_seconds=1e6)
    client = new_client(simulator)
    simulator.add_fault(Fault("drop", on="upload", times=1, commit=True))
    with pytest.raises(OutcomeUnknown, match="is not listed yet"):
        upload_once(client, PACKAGE, outgoing_file(client, 0), lambda _: None)
    with pytest.raises(OutcomeUnknown, match="is not listed yet"):
        upload_once(client, PACKAGE, outgoing_file(client, 0), lambda _: None)
    assert_every_number_once(simulator, 1)


def test_an_upload_that_never_arrives_can_be_tried_later(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    simulator.add_fault(Fault("drop", on="upload"))
    with pytest.raises(OutcomeUnknown):
        upload_once(client, PACKAGE, outgoing_file(client, 0), lambda _: None)
    simulator.clear_faults()
    upload_once(client, PACKAGE, outgoing_file(client, 0), lambda _: None)
    assert_every_number_once(simulator, 1)


def test_after_a_refusal_no_more_files_are_started(
    simulator: Simulator, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = new_client(simulator)
    simulator.add_fault(Fault("forbidden", on="upload", after=5))
    with pytest.raises(Refused, match="ask WeChat Pay|Ask WeChat Pay"):
        upload_all(client, 100, max_workers=3)
    report = simulator.report()
    assert 5 <= report["accepted_uploads"] <= report["requests"]["upload"] <= 5 + 3
    assert "Not uploaded: file_000" in caplog.text
    simulator.clear_faults()
    upload_all(client, 100, max_workers=3)
    assert_every_number_once(simulator, 100)


def test_a_wrong_key_stops_at_once(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    file = outgoing_file(client, 0)
    wrong = new_client(simulator, {"merchant_serial_no": "ABC123"})
    with pytest.raises(Unauthorized):
        upload_once(wrong, PACKAGE, file, lambda _: None)


@pytest.mark.parametrize("kind", ["gateway-403", "unsigned-quota", "unsigned-sign-error", "redirect"])
def test_a_refusal_that_anybody_may_have_given_is_never_the_last_word_on_a_file(
    simulator: Simulator, new_client: NewClient, kind: str
) -> None:
    """It is posted again some times, and the next run goes on; the package has it all the while."""
    client = new_client(simulator)
    simulator.add_fault(Fault(kind, on="upload"))
    with pytest.raises((OutcomeUnknown, Unauthorized)) as raised:
        upload_once(client, PACKAGE, outgoing_file(client, 0), lambda _: None)
    assert "a proxy or gateway may have answered" in str(raised.value)
    assert simulator.report()["requests"]["upload"] == MAX_POSTS
    simulator.clear_faults()
    simulator.add_fault(Fault(kind, on="upload", times=1, commit=True))
    assert upload_once(client, PACKAGE, outgoing_file(client, 0), lambda _: None).adopted
    assert_every_number_once(simulator, 1)


def test_the_daily_quota_is_a_state_of_its_own_and_the_next_day_goes_on(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    now = [1_800_000_000.0]
    simulator = new_simulator(daily_file_quota=10, clock=lambda: now[0])
    client = new_client(simulator, clock=lambda: now[0])
    with pytest.raises(QuotaReached, match="tomorrow"):
        upload_all(client, 16, max_workers=2)
    now[0] += 86400
    uploaded = upload_all(client, 16, max_workers=2)
    assert sum(one.adopted for one in uploaded) == 10
    assert_every_number_once(simulator, 16)


def test_stopping_ends_what_is_under_way_and_a_second_run_goes_on(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)

    def stop_at_four(event: Event) -> None:
        if isinstance(event, FileUploaded) and event.done_files >= 4:
            upload.stop()

    upload = Upload(client, PACKAGE, max_workers=2, tell=stop_at_four)
    with pytest.raises(TryLater, match="stopped after"):
        upload.run(outgoing(client, 30))
    assert 4 <= simulator.report()["accepted_uploads"] <= 7
    upload_all(client, 30, max_workers=2)
    report = assert_every_number_once(simulator, 30)
    assert set(report["whole_bodies"].values()) == {1}


def test_progress_tells_files_and_rows(simulator: Simulator, new_client: NewClient) -> None:
    seen: list[Event] = []
    upload_all(new_client(simulator), 5, tell=seen.append)
    names = tuple(f"file_{index:05}.csv" for index in range(5))
    assert seen[0] == UploadPlanned(PACKAGE, 5, 10, None, BANK_TYPE, names, 6000)
    files = [event for event in seen if isinstance(event, FileUploaded)]
    assert [(event.done_files, event.done_rows) for event in files] == [(n, 2 * n) for n in range(1, 6)]
    assert sorted(event.filename for event in files) == [f"file_{index:05d}.csv" for index in range(5)]


def test_a_file_that_cannot_be_read_ends_the_run_after_the_others(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)

    def lost() -> bytes:
        raise FileNotFoundError("file_00001.csv")

    good, bad = outgoing_file(client, 0), OutgoingFile("file_00001.csv", 2, BANK_TYPE, "1", lost)
    with pytest.raises(FileNotFoundError):
        Upload(client, PACKAGE, max_workers=2).run(outgoing_of([good, bad, outgoing_file(client, 2)]))
    assert simulator.report()["accepted_uploads"] <= 2


def test_a_source_that_fails_ends_the_run_after_what_is_under_way(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)

    def files() -> Iterator[OutgoingFile]:
        yield outgoing_file(client, 0)
        yield outgoing_file(client, 1)
        raise InvalidInput("row 3 is NULL")

    with pytest.raises(InvalidInput, match="row 3"):
        Upload(client, PACKAGE).run(outgoing_of(files()))
    assert_every_number_once(simulator, 2)


def test_a_file_of_another_bank_type_is_not_adopted(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    content, _, filename, serial_no = agreement_file(client, 0)
    create_task(client, PACKAGE, content, "CMB_CREDIT", filename, serial_no)
    with pytest.raises(InvalidInput, match="but for bank_type CMB_CREDIT"):
        upload_all(client, 1)


@pytest.mark.parametrize(
    ("package_id", "content", "bank_type", "filename", "serial_no", "message"),
    [
        ("847", b"x\n", "ICBC_DEBIT", "file.csv", "1", "package_id"),
        ("8473295/x", b"x\n", "ICBC_DEBIT", "file.csv", "1", "package_id"),
        ("号码包号码", b"x\n", "ICBC_DEBIT", "file.csv", "1", "package_id"),
        ("1_2345", b"x\n", "ICBC_DEBIT", "file.csv", "1", "4 to 16 letters or digits"),
        ("8473-295", b"x\n", "ICBC_DEBIT", "file.csv", "1", "4 to 16 letters or digits"),
        ("８４７３２９５", b"x\n", "ICBC_DEBIT", "file.csv", "1", "4 to 16 letters or digits"),
        ("8473295\n", b"x\n", "ICBC_DEBIT", "file.csv", "1", "4 to 16 letters or digits"),
        ("8" * 17, b"x\n", "ICBC_DEBIT", "file.csv", "1", "4 to 16 letters or digits"),
        ("None", b"x\n", "ICBC_DEBIT", "file.csv", "1", "gave nothing"),
        (None, b"x\n", "ICBC_DEBIT", "file.csv", "1", "gave nothing"),
        ("NaN", b"x\n", "ICBC_DEBIT", "file.csv", "1", "gave nothing"),
        ("null", b"x\n", "ICBC_DEBIT", "file.csv", "1", "gave nothing"),
        ("True", b"x\n", "ICBC_DEBIT", "file.csv", "1", "gave nothing"),
        ("FALSE", b"x\n", "ICBC_DEBIT", "file.csv", "1", "gave nothing"),
        ("8473295", b"x\n", "icbc", "file.csv", "1", "bank_type"),
        ("8473295", b"x\n", "A" * 33, "file.csv", "1", "bank_type"),
        ("8473295", b"x\n", "ICBC_DEBIT", "a.c", "1", "filename"),
        ("8473295", b"x\n", "ICBC_DEBIT", "a file.csv", "1", "filename"),
        ("8473295", b"x\n", "ICBC_DEBIT", "x" * 129, "1", "filename"),
        ("8473295", b"", "ICBC_DEBIT", "file.csv", "1", "0 rows"),
        ("8473295", b"x\n" * 5501, "ICBC_DEBIT", "file.csv", "1", "5501 rows"),
        ("8473295", b"x" * 2_000_001, "ICBC_DEBIT", "file.csv", "1", "2000001 bytes"),
        ("8473295", b"x\n", "ICBC_DEBIT", "file.csv", "", "serial"),
    ],
)
def test_a_wrong_upload_is_refused_before_it_is_sent(
    simulator: Simulator, new_client: NewClient, package_id: str, content: bytes, bank_type: str, filename: str,
    serial_no: str, message: str,
) -> None:  # fmt: skip
    with pytest.raises(InvalidInput, match=message):
        create_task(new_client(simulator), package_id, content, bank_type, filename, serial_no)
    assert sum(simulator.report()["requests"].values()) == 0


@pytest.mark.parametrize("workers", [0, 65])
def test_a_wrong_number_of_workers_is_refused(simulator: Simulator, new_client: NewClient, workers: int) -> None:
    with pytest.raises(InvalidInput, match="max_workers"):
        Upload(new_client(simulator), PACKAGE, max_workers=workers)


def test_a_text_file_is_sent_as_one(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    content, bank_type, _, serial_no = agreement_file(client, 0)
    assert create_task(client, PACKAGE, content, bank_type, "numbers.txt", serial_no).filename == "numbers.txt"


def test_an_estimate_is_at_least_one_file_and_grows_with_the_list() -> None:
    assert processing_seconds(0) == 0
    assert processing_seconds(1) == 40 * 60
    assert processing_seconds(10_000_000) == pytest.approx(10_000_000 / 1_300_000 * 3600, abs=1)


def test_every_error_has_one_root(simulator: Simulator) -> None:
    for error in (InvalidInput, OutcomeUnknown, QuotaReached, Refused, TryLater, Unauthorized):
        assert issubclass(error, WxBankError)


# The day's quota.


def test_no_file_is_sent_that_the_quota_of_the_day_has_no_room_for(
    new_simulator: NewSimulator, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Yesterday's files do not count, and the next day goes on."""
    now = [datetime(2026, 11, 24, 23, 0, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()]
    simulator = new_simulator(clock=lambda: now[0])
    client = new_client(simulator, {"daily_file_quota": 10}, clock=lambda: now[0])
    upload_all(client, 4, clock=lambda: now[0])
    now[0] += 2 * 3600
    upload_all(client, 6, clock=lambda: now[0])
    with pytest.raises(QuotaReached, match="the day's quota of 10 files is used up in package 8473295"):
        upload_all(client, 20, max_workers=3, clock=lambda: now[0])
    assert "can take 8 more files today, of a quota of 10" in caplog.text
    assert simulator.report()["requests"]["upload"] == 14
    assert simulator.report()["refused"] == {}
    now[0] += 86_400
    uploaded = upload_all(client, 20, clock=lambda: now[0])
    assert len(uploaded) == 20
    assert set(assert_every_number_once(simulator, 20)["whole_bodies"].values()) == {1}


def test_what_an_earlier_try_uploaded_needs_no_more_of_the_quota(
    new_simulator: NewSimulator, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = new_simulator()
    client = new_client(simulator, {"daily_file_quota": 12})
    before = upload_all(client, 8)
    known = {one.filename: one.task_id for one in before}
    # Of 10 files 2 are left to upload, and 4 may be.
    again = Upload(client, PACKAGE, known=known).run(outgoing(client, 10))
    assert len(again) == 10
    assert "more files today" not in caplog.text
    assert simulator.report()["requests"]["upload"] == 10


def test_what_is_left_of_the_day_costs_one_call(simulator: Simulator, new_client: NewClient) -> None:
    upload_all(new_client(simulator), 30)
    assert simulator.report()["requests"]["list"] == 1


def test_an_upload_starts_although_what_is_left_of_the_day_is_not_known(
    simulator: Simulator, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.add_fault(Fault("internal-error", on="list"))
    assert len(upload_all(new_client(simulator), 3)) == 3
    assert "What is left of the day's quota is not known" in caplog.text
