# SPDX-License-Identifier: Apache-2.0
"""The commands: what they do, print and end with, against a simulator."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads
from typing import Any, get_args

import pytest

from airflow_provider_wxbank.__main__ import main, parser
from airflow_provider_wxbank.cli.command import Exit, exit_code
from airflow_provider_wxbank.cli.connection import ends_soon
from airflow_provider_wxbank.cli.definition import EXIT_CODES
from airflow_provider_wxbank.cli.output import Column, beijing_minute, fitting, table
from airflow_provider_wxbank.cli.tasks import as_shown
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.connection_check import call_steps
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.simulator import Fault, Simulator, numbers_digest
from airflow_provider_wxbank.simulator.options import OPTIONS
from airflow_provider_wxbank.simulator.settings import Check, KeyMode
from airflow_provider_wxbank.wechatpay.errors import OutcomeUnknown, RateLimited, UnknownSerial, WaitFailed
from tests.airflow.conftest import Run, posts
from tests.conftest import PACKAGE, NewClient, NewSimulator, numbers
from tests.harness.databases import ROWS
from tests.harness.waiting import until
from tests.vectors import VECTORS
from tests.wechatpay.test_client import raw_server

Connect = Callable[..., None]


def upload(run: Run, users: Path, *options: str) -> dict[str, Any]:
    code, out, err = run(
        "upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "--output", "json", "--yes", *options
    )
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


# export and upload


def test_an_export_from_a_database_is_uploaded_whole(
    run: Run,
    connected: Simulator,
    sqlite: dict[str, Any],
    airflow_connection: Callable[[str, dict[str, Any]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    airflow_connection("bank_db", sqlite)
    monkeypatch.chdir(tmp_path)
    Path("users.sql").write_text("SELECT agreement_no FROM users WHERE active = :active AND id < 1000 ORDER BY id")
    code, out, err = run(
        "export", "--bank-type", "ICBC_DEBIT", "--output-path", "export", "--sql-file", "users.sql",
        "--sql-conn-id", "bank_db", "--parameters", '{"active": 1}', "--max-rows-per-file", "300", "-o", "json",
    )  # fmt: skip
    assert code == 0, err
    exported = json.loads(out)
    assert exported["manifest"] == str(tmp_path / "export" / "manifest.json")
    code, out, err = run("upload", PACKAGE, "--manifest", "export/manifest.json", "--yes")
    assert code == 0, err
    active = [number for index, number in enumerate(numbers(ROWS)) if index % 3 and index < 1000]
    assert connected.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(active)
    assert exported["rows"] == len(active)
    assert out.splitlines()[-1].split("|")[0].strip() == f"{exported['files']} tasks"
    assert f"{exported['files']} files uploaded, 0 adopted" in err


def test_the_same_upload_again_adopts(run: Run, connected: Simulator, users: Path) -> None:
    first, again = upload(run, users), upload(run, users)
    assert again == {**first, "tasks": [{**task, "adopted": True} for task in first["tasks"]]}
    assert posts(connected) == 1


def test_a_file_is_what_an_export_of_it_has_uploaded(
    run: Run, connected: Simulator, users: Path, tmp_path: Path
) -> None:
    run("export", "--bank-type", "ICBC_DEBIT", "--source", str(users), "--output-path", str(tmp_path / "export"))
    assert run("upload", PACKAGE, "--manifest", str(tmp_path / "export" / "manifest.json"), "--yes")[0] == 0
    upload(run, users)
    assert posts(connected) == 1


def test_a_file_of_another_layout_is_exported(run: Run, connected: Simulator, tmp_path: Path) -> None:
    lines = [f"{number}张三" for number in numbers(20)]
    (tmp_path / "users.dat").write_bytes("\n".join(["H20261126", *lines]).encode("gb18030"))
    code, out, err = run(
        "export", "--bank-type", "ICBC_DEBIT", "--source", str(tmp_path / "users.dat"), "--output-path",
        str(tmp_path / "export"), "--column", "1-18", "--expected-rows", "20",
        "--dialect", '{"encoding": "gb18030", "skip_rows": 1}', "-o", "json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["rows"] == 20


def test_another_prefix_imports_anew(run: Run, connected: Simulator, users: Path) -> None:
    upload(run, users)
    upload(run, users, "--prefix", "again")
    assert posts(connected) == 2


@pytest.mark.parametrize("is_tried", [False, True])
@pytest.mark.parametrize("prefix", ["活动", "a b", "x" * 81])
def test_a_wrong_prefix_of_a_file_is_refused_before_anything_is_said_of_it(
    run: Run, connected: Simulator, users: Path, prefix: str, is_tried: bool
) -> None:
    code, out, err = run(
        "upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "--prefix", prefix,
        "--dry-run" if is_tried else "--yes",
    )  # fmt: skip
    assert (code, out) == (3, "")
    (line,) = err.splitlines()
    assert line.startswith(f"error: prefix {prefix!r} must be 1 to 80 characters of ")
    assert posts(connected) == 0


def test_ctrl_c_ends_an_upload_in_order_and_the_next_one_goes_on(
    run: Run, new_simulator: NewSimulator, connect: Connect, users: Path, tmp_path: Path
) -> None:
    simulator = new_simulator(latency_seconds=0.1)
    connect(simulator)
    manifest = str(tmp_path / "export" / "manifest.json")
    run("export", "--bank-type", "ICBC_DEBIT", "--source", str(users), "--output-path", str(tmp_path / "export"),
        "--max-rows-per-file", "1")  # fmt: skip

    def press_ctrl_c() -> None:
        until(lambda: posts(simulator) > 0)
        os.kill(os.getpid(), signal.SIGINT)

    finger = Thread(target=press_ctrl_c)
    finger.start()
    code, out, err = run("upload", PACKAGE, "--manifest", manifest, "--max-workers", "1", "--yes")
    finger.join()
    assert (code, out) == (Exit.INTERRUPTED, "")
    assert not re.search("traceback|error", err, re.IGNORECASE)
    assert 0 < posts(simulator) < 12
    assert not [thread for thread in enumerate_threads() if thread.name.startswith("wxbank-upload")]
    code, _, err = run("upload", PACKAGE, "--manifest", manifest, "--yes")
    assert code == 0, err
    assert posts(simulator) == 12


def test_a_terminal_shows_bars_and_stdout_the_result(
    run: Run, connected: Simulator, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes what it writes to for a terminal
    code, out, err = run("upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "-o", "json", "-y")
    assert code == 0
    assert json.loads(out)["rows"] == 12
    assert "1/1" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    code, out, err = run("wait", PACKAGE, "-o", "json")
    assert code == 0
    assert json.loads(out)["tasks"] == 1
    assert "1/1" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    code, out, err = run("tasks", PACKAGE, "-o", "json")
    assert code == 0
    assert len(json.loads(out)) == 1
    assert f"Reading package {PACKAGE}" in err


def test_no_number_is_printed(run: Run, connected: Simulator, users: Path) -> None:
    users.write_text(f"{numbers(1)[0]}\nnot a number \n")
    code, out, err = run("upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "-v", "--yes")
    assert code == Exit.INPUT
    assert numbers(1)[0] not in out + err
    assert posts(connected) == 0


# tasks


def test_tasks_are_listed_with_every_field(run: Run, connected: Simulator, users: Path) -> None:
    uploaded = upload(run, users)
    code, out, _ = run("tasks", PACKAGE, "--output", "json")
    assert code == 0
    (task,) = json.loads(out)
    assert task["task_id"] == uploaded["tasks"][0]["task_id"]
    assert (task["package_id"], task["status"], task["bank_type"]) == (PACKAGE, "FINISHED", "ICBC_DEBIT")
    assert (task["success_count"], task["fail_count"]) == (12, 0)
    assert task["create_time"].endswith("+08:00")
    assert "T" in task["create_time"]


def test_yaml_and_plain_text_say_the_same(run: Run, connected: Simulator, users: Path) -> None:
    from airflow.utils import yaml

    upload(run, users)
    tasks = json.loads(run("tasks", PACKAGE, "-o", "json")[1])
    assert yaml.safe_load(run("tasks", PACKAGE, "-o", "yaml")[1]) == tasks
    heading, line = run("tasks", PACKAGE, "-o", "plain")[1].splitlines()
    assert dict(zip(heading.split(), line.split(), strict=True)) == {key: str(value) for key, value in tasks[0].items()}


def test_a_table_has_sums_of_what_is_finished(
    run: Run, new_simulator: NewSimulator, connect: Connect, users: Path
) -> None:
    connect(new_simulator(processing_seconds=1000.0))
    upload(run, users)
    code, out, _ = run("tasks", PACKAGE)
    assert code == 0
    heading, _, task, _, sums = ([cell.strip() for cell in line.split("|")] for line in out.splitlines())
    assert heading[:5] == ["task", "filename", "status", "matched", "failed"]
    assert task[2:5] == ["PROCESSING", "", ""]
    assert (sums[0], sums[2], sums[3]) == ("1 task", "0 finished", "0")


def test_counts_are_shown_once_they_are_valid() -> None:
    task = UploadTask("101", PACKAGE, "a.csv", status="PROCESSING", success_count=0, fail_count=0, success_user_count=0)
    finished = replace(task, status="FINISHED")
    assert {as_shown(task)[name] for name in ("success_count", "fail_count", "success_user_count")} == {None}
    assert {as_shown(finished)[name] for name in ("success_count", "fail_count", "success_user_count")} == {0}


def test_tasks_are_chosen_by_status_and_filename(run: Run, connected: Simulator, users: Path) -> None:
    filename = upload(run, users)["tasks"][0]["filename"]
    upload(run, users, "--prefix", "other")
    assert json.loads(run("tasks", PACKAGE, "--status", "PROCESSING", "-o", "json")[1]) == []
    (task,) = json.loads(run("tasks", PACKAGE, "--filename", filename, "-o", "json")[1])
    assert task["filename"] == filename


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_table_fits_the_terminal(width: int) -> None:
    from rich.console import Console

    columns = (Column("a", "a"), Column("name", "name", folds=True), Column("b", "b", is_optional=True),
               Column("c", "c", is_optional=True))  # fmt: skip
    rows = [{"a": "a" * 12, "name": "n" * 90, "b": "b" * 12, "c": "c" * 30}]
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table(rows, columns, {"a": "1 row"}, width))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= width
    assert text.count("n") == 90 + 1
    kept = [column.name for column in fitting(rows, columns, width)]
    assert kept == ["a", "name", "b", "c"][: 3 if width < 83 else 4]
    assert all("…" not in line for line in text.splitlines())


@pytest.mark.parametrize(
    "text", ["2026-11-27T20:03:59+00:00", "2026-11-28T04:03:59+08:00", "2026-11-27T15:03:59-05:00"]
)
def test_a_moment_is_shown_in_one_way_whatever_its_offset(text: str) -> None:
    assert beijing_minute(text) == "2026-11-28 04:03 +08:00"


def test_times_of_all_tables_tell_their_offset(run: Run, connected: Simulator, users: Path) -> None:
    upload(run, users)
    for command, field in ((("tasks", PACKAGE), "create_time"), (("certificates",), "expire_time")):
        (moment,) = (datetime.fromisoformat(one[field]) for one in json.loads(run(*command, "-o", "json")[1]))
        out = run(*command)[1]
        shown = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d \+08:00", out)
        assert moment.replace(second=0, microsecond=0) in [datetime.strptime(one, "%Y-%m-%d %H:%M %z") for one in shown]
        # There is no time without one.
        assert len(shown) == len(re.findall(r"(?<![+\d])\d\d:\d\d", out))


# wait


def test_waiting_ends_with_the_counts(run: Run, connected: Simulator, users: Path) -> None:
    task_id = upload(run, users)["tasks"][0]["task_id"]
    code, out, _ = run("wait", PACKAGE, "--task-ids", task_id, "-o", "json")
    assert code == 0
    result = json.loads(out)
    assert (result["tasks"], result["success_count"], result["fail_count"]) == (1, 12, 0)


def test_waiting_tells_of_each_look_and_gives_up_in_time(
    run: Run, new_simulator: NewSimulator, connect: Connect, users: Path
) -> None:
    connect(new_simulator(processing_seconds=1000.0))
    upload(run, users)
    code, out, err = run("wait", PACKAGE, "--poke-interval", "0.05", "--timeout", "0.1")
    assert (code, out) == (Exit.TIMED_OUT, "")
    looks = [line for line in err.splitlines() if line == f"Package {PACKAGE}: 1 task of the package is processing"]
    assert len(looks) >= 2
    assert "was not finished in 0.1 s" in err


def test_too_many_that_did_not_match_are_told_from_a_timeout(
    run: Run, new_simulator: NewSimulator, connect: Connect, users: Path
) -> None:
    connect(new_simulator(unmatched_ratio=1.0))
    upload(run, users)
    code, out, err = run("wait", PACKAGE, "--max-fail-ratio", "0.5", "-o", "json")
    assert code == Exit.WAIT_FAILED
    assert json.loads(out)["fail_count"] == 12
    assert "Not one number matched in 1 file " in err
    assert "--max-fail-ratio allows 50.00%" in err


# certificates and check


@pytest.mark.parametrize(
    ("mode", "options", "kinds"),
    [
        ("certificates", (), ["certificate"]),
        ("public-key", (), ["public key"]),
        ("both", (), ["public key"]),
        ("both", ("--download",), ["public key", "certificate"]),
    ],
)
def test_certificates_are_downloaded_where_that_does_no_harm(
    run: Run, new_simulator: NewSimulator, connect: Connect, mode: str, options: tuple[str, ...], kinds: list[str]
) -> None:
    simulator = new_simulator(key_mode=mode)
    connect(simulator)
    code, out, _ = run("certificates", "-o", "json", *options)
    assert code == 0
    keys = json.loads(out)
    assert [key["kind"] for key in keys] == kinds
    assert keys[0]["use"] == "encrypts, verifies"
    assert simulator.report()["requests"]["certificates"] == ("certificate" in kinds)


def test_all_certificates_are_listed_and_the_newest_encrypts(run: Run, connected: Simulator) -> None:
    new = connected.rotate_certificate()
    code, out, err = run("certificates")
    assert code == 0, err
    lines = out.splitlines()[2:]
    assert len(lines) == 2
    assert [line.split("|")[0].strip() for line in lines if "encrypts" in line] == [new]


def test_a_certificate_that_ends_soon_is_told(simulator: Simulator, new_client: NewClient) -> None:
    now = time.time()
    key = new_client(simulator).encryption_key()
    assert ends_soon(key, now) is None
    assert ends_soon(replace(key, expires=now + 61 * 86_400), now) is None
    assert "ends in 59 days" in (ends_soon(replace(key, expires=now + 59 * 86_400), now) or "")


STEPS = ["connection", "private key", "mode", "network", "clock", "signature", "answers", "permission"]


def checked(run: Run, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and the outcome and message of each step."""
    code, out, _ = run("check", "-o", "json", *arguments)
    return code, {step["step"]: (step["outcome"], step["message"]) for step in json.loads(out)}


@pytest.mark.parametrize("mode", get_args(KeyMode))
def test_a_right_connection_passes_every_step(
    run: Run, new_simulator: NewSimulator, connect: Connect, mode: str
) -> None:
    connect(new_simulator(key_mode=mode))
    code, steps = checked(run, PACKAGE)
    assert code == 0
    assert list(steps) == [*STEPS, "package"]
    assert {outcome for outcome, _ in steps.values()} == {"ok"}
    assert steps["mode"][1].startswith(mode.replace("-", " "))


def test_the_steps_are_shown_one_a_line(run: Run, connected: Simulator) -> None:
    code, out, _ = run("check")
    assert code == 0
    outcomes, names, messages = zip(*(re.split("  +", line, maxsplit=2) for line in out.splitlines()), strict=True)
    assert set(outcomes) == {"ok"}
    assert list(names) == STEPS
    assert all(messages)
    assert out.startswith("ok       connection   wxbank_default: ")


@pytest.mark.parametrize(
    ("change", "step", "message", "code"),
    [
        ({"login": ""}, "private key", "no merchant id", Exit.CREDENTIALS),
        ({"merchant_private_key": "no key"}, "private key", "merchant_private_key", Exit.CREDENTIALS),
        ({"password": "short"}, "mode", "must have 32 characters", Exit.CREDENTIALS),
        ({"host": "http://192.0.2.1"}, "mode", "plain http", Exit.INPUT),
        ({"merchant_serial_no": "ABC123"}, "signature", "is not a certificate of merchant", Exit.CREDENTIALS),
        ({"password": "x" * 32}, "answers", "does not decrypt", Exit.UNVERIFIED),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_step_that_fails_is_told_and_the_rest_is_skipped(
    run: Run, simulator: Simulator, connect: Connect, change: dict[str, str], step: str, message: str, code: Exit
) -> None:
    connection = simulator.airflow_connection()
    own = {name: value for name, value in change.items() if name in connection}
    extra = {**connection["extra"], **{name: value for name, value in change.items() if name not in connection}}
    connect(simulator, **own, extra=extra)
    ended, steps = checked(run)
    assert ended == code
    assert steps[step][0] == "failed"
    assert message in steps[step][1]
    after = STEPS[STEPS.index(step) + 1 :]
    # An answer that cannot be verified does not tell whether our signature was accepted.
    passed = {one: steps[one][0] for one in STEPS[: STEPS.index(step)]}
    assert passed.pop("signature", "ok") == ("skipped" if code == Exit.UNVERIFIED else "ok")
    assert set(passed.values()) <= {"ok"}
    assert {steps[one][0] for one in after} <= {"skipped"}


@pytest.mark.parametrize("packages", [None, frozenset({PACKAGE})], ids=["listed", "refused"])
@pytest.mark.parametrize(
    ("change", "fault", "message"),
    [
        ({}, Fault("wrong-apiv3-key", on="certificates"), "the APIv3 key (the connection's password) does not decrypt"),
        ({"wechatpay_public_key_id": "PUB_KEY_ID_1"}, None, "WeChat Pay does not sign with"),
        (
            {"wechatpay_public_key": VECTORS["keys"]["wechatpay_public_key"]},
            None,
            "wechatpay_public_key is not WeChat Pay's PUB_KEY_ID_",
        ),
    ],
    ids=["apiv3-key", "public-key-id", "public-key"],
)
def test_while_migrating_each_of_the_two_keys_must_be_right(
    new_simulator: NewSimulator,
    new_client: NewClient,
    packages: frozenset[str] | None,
    change: dict[str, str],
    fault: Fault | None,
    message: str,
) -> None:
    simulator = new_simulator(key_mode="both", packages=packages)
    if fault is not None:
        simulator.add_fault(fault)
    steps = {step.name: step for step in call_steps(new_client(simulator, change))}
    assert steps["answers"].outcome == "failed"
    assert message in steps["answers"].message
    assert steps["permission"].outcome == "skipped"


def test_the_test_button_tells_the_step_that_failed(run: Run, new_simulator: NewSimulator, connect: Connect) -> None:
    simulator = new_simulator(key_mode="both")
    connect(simulator, extra={**simulator.airflow_connection()["extra"], "wechatpay_public_key_id": "PUB_KEY_ID_1"})
    code, steps = checked(run)
    assert code == Exit.CREDENTIALS
    assert steps["answers"][0] == "failed"
    assert WxBankHook().test_connection() == (False, steps["answers"][1])


def test_the_test_button_sums_up_the_steps(run: Run, simulator: Simulator, connect: Connect) -> None:
    connect(simulator)
    _, steps = checked(run)
    works, message = WxBankHook().test_connection()
    assert works
    for name in ("mode", "signature", "answers", "permission"):
        assert f"{name.capitalize()}: {steps[name][1]}." in message


def test_a_migration_that_is_over_is_noted_and_no_failure(
    run: Run, new_simulator: NewSimulator, connect: Connect
) -> None:
    simulator = new_simulator(key_mode="both")
    connect(simulator)
    simulator.set_key_mode("public-key")
    code, steps = checked(run)
    assert (code, steps["answers"][0]) == (0, "ok")
    assert steps["answers"][1].endswith("The merchant has no platform certificates any more: empty the password")


def test_an_outage_of_the_certificates_says_nothing_of_our_signature(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    simulator = new_simulator(key_mode="both")
    simulator.add_fault(Fault("unavailable", on="certificates"))
    steps = {step.name: step for step in call_steps(new_client(simulator))}
    assert (steps["signature"].outcome, steps["answers"].outcome) == ("ok", "failed")
    assert "Run it again later" in steps["answers"].message


@pytest.mark.usefixtures("connections_of_airflow")
def test_a_missing_connection_is_told(run: Run) -> None:
    code, steps = checked(run, "--wxbank-conn-id", "nobody_made_this")
    assert code == Exit.CREDENTIALS
    assert steps["connection"] == ("failed", "Airflow has no connection nobody_made_this: add it, of type wxbank")
    assert steps["answers"][0] == "skipped"


def test_a_missing_permission_and_an_unreadable_package_are_told_apart(run: Run, connected: Simulator) -> None:
    connected.add_fault(Fault("forbidden", on="list", times=1))
    code, steps = checked(run)
    assert code == Exit.REFUSED
    assert (steps["answers"][0], steps["permission"][0]) == ("ok", "failed")
    connected.add_fault(Fault("forbidden", on="list", after=1, times=1))
    code, steps = checked(run, PACKAGE)
    assert code == Exit.REFUSED
    assert (steps["permission"][0], steps["package"][0]) == ("ok", "failed")


def test_the_clock_is_a_step_of_its_own(simulator: Simulator, new_client: NewClient) -> None:
    steps = {step.name: step for step in call_steps(new_client(simulator, clock=lambda: time.time() + 1000))}
    assert steps["network"].outcome == "ok"
    assert steps["clock"].outcome == "failed"
    assert re.match(r"This machine's clock differs by 100\d s from WeChat Pay's", steps["clock"].message)
    assert steps["signature"].outcome == "skipped"


def test_no_network_is_a_step_of_its_own(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator)
    assert {step.outcome for step in call_steps(client)} == {"ok"}
    simulator.add_fault(Fault("drop", on="any"))
    steps = [step for step in call_steps(client) if step.outcome != "skipped"]
    assert [(step.name, step.outcome) for step in steps] == [("mode", "ok"), ("network", "failed")]


def test_an_answer_of_another_key_tells_nothing_of_our_signature(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    own = VECTORS["keys"]["wechatpay_public_key"]
    client = new_client(new_simulator(key_mode="public-key"), {"wechatpay_public_key": own})
    steps = {step.name: step.outcome for step in call_steps(client)}
    assert (steps["signature"], steps["answers"], steps["permission"]) == ("skipped", "failed", "skipped")


def test_an_answer_that_is_not_signed_does_not_tell_of_our_signature(
    simulator: Simulator, new_client: NewClient
) -> None:
    with raw_server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}") as url:
        steps = {step.name: step.outcome for step in call_steps(new_client(simulator, {"host": url}))}
    assert steps == {
        "mode": "ok",
        "network": "ok",
        "clock": "skipped",
        "signature": "skipped",
        "answers": "failed",
        "permission": "skipped",
    }


def test_an_outage_is_not_taken_for_a_wrong_key(simulator: Simulator, new_client: NewClient) -> None:
    simulator.add_fault(Fault("unavailable"))
    steps = {step.name: step for step in call_steps(new_client(simulator))}
    assert (steps["network"].outcome, steps["signature"].outcome) == ("ok", "failed")
    assert "Run it again later" in steps["signature"].message


# How a command ends


def test_an_error_is_one_line_with_a_hint(run: Run, connect: Connect, simulator: Simulator) -> None:
    connect(simulator, extra={})
    code, out, err = run("tasks", PACKAGE)
    assert (code, out) == (Exit.CREDENTIALS, "")
    error, hint = err.splitlines()
    assert error.startswith("error: the connection has no merchant_serial_no")
    assert error.endswith("(Connection: wxbank_default)")
    assert hint == "hint: the command check tells which part of the connection is wrong"


def test_verbose_shows_where_it_happened(run: Run, connect: Connect, simulator: Simulator) -> None:
    connect(simulator, extra={})
    code, _, err = run("tasks", PACKAGE, "-v")
    assert code == Exit.CREDENTIALS
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("kind", "code"),
    [("forbidden", Exit.REFUSED), ("quota-reached", Exit.TRY_LATER)],
)
def test_a_refusal_is_told_from_what_passes(
    run: Run, new_simulator: NewSimulator, connect: Connect, kind: str, code: Exit
) -> None:
    # With a key at hand a first answer can be verified, and is not waited for as a gateway's would be.
    simulator = new_simulator(key_mode="public-key")
    connect(simulator)
    simulator.add_fault(Fault(kind, on="list"))
    assert run("tasks", PACKAGE)[0] == code


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (RateLimited(), Exit.TRY_LATER),
        (OutcomeUnknown(), Exit.TRY_LATER),
        (UnknownSerial(), Exit.UNVERIFIED),
        (WaitFailed(), Exit.WAIT_FAILED),
        (OSError(), Exit.UNEXPECTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_error_has_its_code(failure: BaseException, code: Exit) -> None:
    assert exit_code(failure) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ("tasks", "84"),
        ("upload", PACKAGE, "--yes"),
        ("upload", PACKAGE, "--dry-run"),
        ("upload", PACKAGE, "--file", "missing.csv", "--bank-type", "ICBC_DEBIT", "--yes"),
        ("upload", PACKAGE, "--file", "missing.csv", "--bank-type", "ICBC_DEBIT", "--dry-run"),
        ("upload", PACKAGE, "--manifest", "m.json", "--prefix", "p", "--yes"),
        ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "x", "--sql", "SELECT 1", "--sql-file", "y"),
        ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "x", "--sql-file", "missing.sql"),
        ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "x", "--sql", "SELECT 1", "--parameters", "1"),
        ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "x", "--source", "y", "--dialect", "|"),
        ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "x", "--source", "y", "--column", "18-1"),
        ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "x", "--source", "y", "--expected-rows", "-1"),
        ("wait", PACKAGE, "--poke-interval", "0"),
        ("wait", PACKAGE, "--max-fail-ratio", "2"),
    ],
    ids=" ".join,
)
def test_wrong_input_is_told_before_anything_is_sent(
    run: Run, connected: Simulator, arguments: tuple[str, ...]
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (Exit.INPUT, ""), err
    assert err.startswith("error: ")
    assert posts(connected) == 0


@pytest.mark.parametrize("arguments", [("tasks", PACKAGE), ("tasks", PACKAGE, "-o", "json"), ("check",)], ids=" ".join)
def test_a_pipe_that_is_closed_early_ends_it_quietly(
    connected: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    monkeypatch.undo()
    assert ended.value.code == 141
    assert capfd.readouterr().err == ""


# The help


(COMMANDS,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_marks_what_is_required_and_ends_with_the_exit_codes(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    for action in COMMANDS[name]._actions:
        assert ("(required" in (action.help or "")) >= action.required, action.option_strings
    told = out.partition("\nexit codes:\n")[2]
    codes = dict(re.findall(r"^  (\d+) +(.+)$", told, re.MULTILINE))
    assert len(codes) == len(told.splitlines()) >= 3
    assert {int(one): text for one, text in codes.items()}.items() <= EXIT_CODES.items()


def test_the_help_has_a_text_for_every_exit_code(run: Run) -> None:
    assert EXIT_CODES.keys() == set(map(int, Exit))
    told = run("--help")[1]
    assert all(re.search(rf"^  {int(code)} ", told, re.MULTILINE) for code in Exit)


# simulate


def test_a_port_that_is_taken_is_told_with_the_way_out(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        code, out, err = run("simulate", "--port", port)
    assert (code, out) == (1, "")
    assert f"127.0.0.1:{port}: Address already in use: a simulator that still runs" in err
    assert "choose another port with --port" in err
    assert "Traceback" not in err


def test_the_simulator_is_offered_as_it_is() -> None:
    options = dict(OPTIONS)
    assert options["--mode"]["choices"] == get_args(KeyMode)
    assert options["--check"]["choices"] == get_args(Check)


def test_the_simulator_ends_with_its_own_code(run: Run) -> None:
    code, out, err = run("simulate", "--port", "65536")
    assert (code, out) == (1, "")
    assert err == "wxbank-simulator: 127.0.0.1:65536: bind(): port must be 0-65535.\n"


def test_a_missing_extra_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("airflow_provider_wxbank.simulator.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "airflow_provider_wxbank.simulator")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, out, err = run("simulate", "--port", "0")
    assert (code, out) == (Exit.UNEXPECTED, "")
    assert err == "error: the simulator needs uvicorn: pip install 'airflow-provider-wxbank[simulator]'\n"
