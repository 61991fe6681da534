# SPDX-License-Identifier: Apache-2.0
"""What the simulator tells of what has arrived."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from threading import Thread

import pytest

from airflow_provider_wxbank.simulator import numbers_digest
from tests.harness.raw_client import (
    Upload,
)
from tests.harness.simulators import NOT_DECRYPTED, Bank, NewBank, assert_refused, new_package


def test_the_report_tells_what_has_arrived(new_bank: NewBank) -> None:
    bank = new_bank()
    one, two = bank.file("1001", "1002", "1001", name="file-0001.csv"), bank.file("1003", "1002", name="file-0002.csv")
    tasks = [bank.client.upload("8473295", upload).value for upload in (one, two)]
    bank.client.tasks("8473295")
    bank.client.tasks("8473295", "filename=file-0001.csv")
    bank.client.tasks("8473295", "limit=21")
    assert bank.client.report() == {
        "requests": {"upload": 2, "find": 1, "list": 2, "certificates": 1},
        "accepted_uploads": 2,
        "refused": {"PARAM_ERROR": 1},
        "faults": {},
        "max_concurrent_uploads": 1,
        "whole_bodies": {"file-0001.csv": 1, "file-0002.csv": 1},
        "packages": {
            "8473295": {
                "tasks": [
                    task
                    | {
                        "rows": rows,
                        "bytes": 345 * rows,
                        "sha256": hashlib.sha256(upload.content).hexdigest(),
                        "serial_no": bank.key.serial_no,
                    }
                    for task, rows, upload in zip(tasks, (3, 2), (one, two), strict=True)
                ],
                "lines": 5,
                "distinct_numbers": 3,
                "repeated_numbers": 2,
                "undecryptable": 0,
                "numbers_digest": numbers_digest(["1001", "1002", "1003"]),
            }
        },
    }


def test_the_digest_of_numbers_is_that_of_their_sorted_digests() -> None:
    lines = sorted(hashlib.sha256(number).hexdigest() for number in (b"1001", b"1002"))
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert numbers_digest(["1002", "1001", "1002"]) == expected


def test_the_report_holds_no_number(bank: Bank, package: str) -> None:
    bank.put(package, "6222029988776655")
    assert b"6222029988776655" not in bank.client.send("GET", "/simulator/report").body


def test_the_report_in_process_is_the_one_over_http(bank: Bank, package: str) -> None:
    bank.put(package)
    assert bank.simulator.report() == bank.client.report()


def test_uploads_that_were_received_whole_are_counted(bank: Bank, package: str) -> None:
    name = f"counted-{package}.csv"
    for _ in range(2):
        bank.client.upload(package, bank.file(name=name))
    assert bank.client.report()["whole_bodies"][name] == 2


def bad_line_file(bank: Bank, index: int) -> Upload:
    """Forty lines, of which one does not decrypt."""
    lines = bank.key.encrypt(*(f"62220200{number:08}" for number in range(40))).splitlines(keepends=True)
    lines[index] = b"A" * 342 + b"==\n"
    return replace(bank.file(), content=b"".join(lines))


def assert_one_undecryptable(bank: Bank, package: str) -> None:
    report = bank.client.report()["packages"][package]
    assert (report["lines"], report["distinct_numbers"], report["undecryptable"]) == (40, 39, 1)
    (task,) = report["tasks"]
    assert (task["success_count"], task["fail_count"]) == (39, 1)


def test_a_bad_line_in_the_sample_is_refused_at_the_upload(new_bank: NewBank) -> None:
    bank = new_bank(check="sample")
    upload = bad_line_file(bank, 2)
    assert_refused(bank, lambda: bank.client.upload("8473295", upload), 400, "PARAM_ERROR", NOT_DECRYPTED)


def test_a_bad_line_outside_of_the_sample_is_found_by_the_report(new_bank: NewBank) -> None:
    bank = new_bank(check="sample")
    assert bank.client.upload("8473295", bad_line_file(bank, 1)).status == 200
    assert_one_undecryptable(bank, "8473295")


def test_a_bad_line_is_found_by_the_report_if_lines_are_decrypted_later(new_bank: NewBank) -> None:
    bank = new_bank(check="later")
    assert bank.client.upload("8473295", bad_line_file(bank, 0)).status == 200
    assert_one_undecryptable(bank, "8473295")


def test_a_line_that_is_decrypted_later_counts_as_matched_before(later_shared: Bank, package: str) -> None:
    assert later_shared.client.upload(package, bad_line_file(later_shared, 0)).status == 200
    (task,) = later_shared.client.tasks(package).value["data"]
    assert (task["success_count"], task["fail_count"]) == (40, 0)


@pytest.mark.slow
def test_reports_can_be_asked_for_during_uploads(new_bank: NewBank) -> None:
    bank = new_bank(check="later")
    content = bank.file().content * 100
    statuses = list[int]()

    def upload() -> None:
        for index in range(15):
            answer = bank.client.upload(new_package(), replace(bank.file(), content=content * (index % 2 + 1)))
            statuses.append(answer.status)

    threads = [Thread(target=upload) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert bank.client.send("GET", "/simulator/report").status == 200
    assert statuses == [200] * 30
    assert bank.client.report()["accepted_uploads"] == 30
