# SPDX-License-Identifier: Apache-2.0
"""``upload``: what the operator does, without a DAG run, and after a question; or only what it would do."""

from __future__ import annotations

import argparse
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict

from rich.console import Console

from airflow_provider_wxbank import steps
from airflow_provider_wxbank.agreements.manifest import NAME, manifest_in
from airflow_provider_wxbank.agreements.outgoing import Outgoing
from airflow_provider_wxbank.cli.audit import audited
from airflow_provider_wxbank.cli.command import NotConfirmed, command, printable, say
from airflow_provider_wxbank.cli.definition import DEFAULT_PREFIX
from airflow_provider_wxbank.cli.files import absolute
from airflow_provider_wxbank.cli.output import Column, busy, duration, package_bar, show, thousands
from airflow_provider_wxbank.cli.words import counted, in_english, worded
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.endpoints import list_tasks_page
from airflow_provider_wxbank.packages.plan import UploadPlan
from airflow_provider_wxbank.packages.quota import DAY
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.reporting.events import Event, FileUploaded, Observer, UploadPlanned, all_of
from airflow_provider_wxbank.reporting.progress import ProgressLog
from airflow_provider_wxbank.steps import UploadInput
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_COLUMNS = (
    Column(worded("task"), "task_id"),
    Column(worded("filename"), "filename", folds=True),
    Column(worded("rows"), "rows", thousands, is_number=True),
)
_PLAN_COLUMNS = (Column(worded("what"), "what"), Column(worded("would be"), "would_be", folds=True))


@command
def upload(args: argparse.Namespace) -> None:
    """Upload an export, or one file, into a number package; or say what that would do."""
    if args.dry_run:
        _dry_run(args)
        return
    sent = _Sent()
    with audited("upload", args.wxbank_conn_id, args.package_id) as audit, ExitStack() as reading:
        if not args.yes:
            _check_terminal()
        given = _input(args)
        reading.enter_context(busy(worded("Reading and checking")))

        def ask(outgoing: Outgoing, client: Client) -> None:
            reading.close()
            if not args.yes:
                _ask(outgoing, client, args.package_id, args.wxbank_conn_id)

        with _progress(args.package_id) as tell:
            result = steps.upload(
                given, WxBankHook(args.wxbank_conn_id), _prefix(args), tell=all_of(sent, audit, tell), asks=ask
            )
    say(
        worded(
            "{files} uploaded, {adopted:,} adopted (there already)",
            files=counted(sent.uploaded, "file"),
            adopted=sent.adopted,
        )
    )
    tasks = result["tasks"]
    show(args.output, result, tasks, _COLUMNS, {"task_id": counted(len(tasks), "task"), "rows": result["rows"]})


def _input(args: argparse.Namespace) -> UploadInput:
    if (args.manifest is None) == (args.file is None):
        raise InvalidInput(worded("give either --manifest or --file"))
    if args.manifest is not None and args.prefix is not None:
        raise InvalidInput(worded("--prefix goes with --file; the files of a manifest have their names"))
    return UploadInput(
        package_id=args.package_id,
        manifest=_manifest(absolute(args.manifest)),
        file=absolute(args.file),
        bank_type=args.bank_type,
        encrypted=args.encrypted,
        serial_no=args.serial_no,
        max_workers=args.max_workers,
    )


def _manifest(written: str | None) -> str | None:
    """A manifest, also where its folder was given. A task's result names it, and no store is asked what that is."""
    if written is None or written.rpartition("/")[2].partition("#")[0] == NAME:
        return written
    return manifest_in(location(written, "manifest")).uri


def _prefix(args: argparse.Namespace) -> str:
    return args.prefix or DEFAULT_PREFIX


def _check_terminal() -> None:
    """:raises NotConfirmed: there is nobody who could be asked. Told before anything is read."""
    # A process without one has None for it.
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise NotConfirmed(
            worded(
                "nothing was uploaded: numbers can never be taken out of a package again, so this command asks before "
                "it uploads, and there is no terminal to ask on. Add --yes to upload without a question; --dry-run "
                "says what would be uploaded"
            )
        )


def _ask(outgoing: Outgoing, client: Client, package_id: str, wxbank_conn_id: str) -> None:
    """:raises NotConfirmed: the answer is not yes."""
    # What was typed while the list was read is no answer to a question that was not there yet.
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    question = worded(
        "Upload {files} with {numbers} of {bank_type} into package {package_id} (merchant {mchid}, connection "
        "{wxbank_conn_id})? {has}. This cannot be undone: numbers can never be taken out of a package again. [y/N] ",
        files=counted(len(outgoing.filenames), "file"),
        numbers=counted(outgoing.rows, "number"),
        bank_type=outgoing.bank_type,
        package_id=package_id,
        mchid=client.settings.merchant.mchid,
        wxbank_conn_id=wxbank_conn_id,
        has=_has(list_tasks_page(client, package_id, limit=1).total_count),
    )
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes", worded("y")):
        raise NotConfirmed(worded("nothing was uploaded: the answer was not y"))


def _has(tasks: int) -> str:
    """What a wrong package id would show by."""
    if not tasks:
        return worded("It has no upload task yet")
    return worded("It has {tasks} now", tasks=counted(tasks, "upload task"))


class _Sent:
    """Counts the files that were uploaded, and those that were there already."""

    def __init__(self) -> None:
        self.uploaded = self.adopted = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, FileUploaded):
            self.adopted += event.adopted
            self.uploaded += not event.adopted


@contextmanager
def _progress(package_id: str) -> Iterator[Observer]:
    """An observer that moves a bar on a terminal, or else prints a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield all_of(_say_planned, _ProgressLines())
        return
    with ExitStack() as shown:
        bar = package_bar(worded("files"), console)

        def move(event: Event) -> None:
            match event:
                case UploadPlanned():
                    # Not before: until then there may be a question.
                    shown.enter_context(bar)
                    bar.add_task(package_id, total=event.files)
                case FileUploaded():
                    bar.update(bar.task_ids[0], completed=event.done_files)

        yield move


def _say_planned(event: Event) -> None:
    if isinstance(event, UploadPlanned):
        say(
            worded(
                "Package {package_id}: uploading {files} with {numbers}",
                package_id=event.package_id,
                files=counted(event.files, "file"),
                numbers=counted(event.rows, "number"),
            )
        )


class _ProgressLines(ProgressLog):
    """What the log says of an upload, as lines on stderr."""

    def write(self, done: FileUploaded, planned: UploadPlanned) -> None:
        """Print a line."""
        so_far = worded(
            "{done_files} of {files} files, {done_rows} of {rows} numbers are with WeChat Pay",
            done_files=done.done_files,
            files=planned.files,
            done_rows=done.done_rows,
            rows=planned.rows,
        )
        if done.processing_seconds:
            minutes = round(done.processing_seconds / 60)
            say(
                worded(
                    "{so_far}; it processes what was sent in about {minutes} minutes", so_far=so_far, minutes=minutes
                )
            )
        else:
            say(worded("{so_far}; all of them were there already", so_far=so_far))


def _dry_run(args: argparse.Namespace) -> None:
    with busy(worded("Reading and checking")):
        plan = steps.plan_upload(_input(args), WxBankHook(args.wxbank_conn_id), _prefix(args))
    # Plain text is for programs, and has these lines, too.
    with nullcontext() if args.output == "table" else in_english():
        told = _told(plan, args.wxbank_conn_id)
    lines = [{"what": what, "would_be": text} for what, text in told.items()]
    show(args.output, {"wxbank_conn_id": args.wxbank_conn_id, **asdict(plan)}, lines, _PLAN_COLUMNS)
    say(worded("Nothing was uploaded: this is what would be"))


def _told(plan: UploadPlan, wxbank_conn_id: str) -> dict[str, str]:
    """A plan for a person."""
    there = counted(plan.listed_files, "is", "are")
    return {
        worded("package"): worded("{package_id}. {has}", package_id=plan.package_id, has=_has(plan.package_tasks)),
        worded("connection"): worded(
            "{wxbank_conn_id}, merchant {mchid}", wxbank_conn_id=wxbank_conn_id, mchid=plan.mchid
        ),
        worded("bank type"): plan.bank_type,
        worded("files"): worded(
            "{files:,}, of which {there} there already, and would be adopted",
            files=plan.files,
            there=worded("about {text}", text=there) if plan.is_guess else there,
        ),
        worded("numbers"): f"{plan.rows:,}",
        worded("quota"): worded(
            "{quota:,} files a day, of which {left:,} are left today, as far as this package tells",
            quota=plan.daily_file_quota,
            left=plan.files_left_today,
        ),
        worded("upload"): _upload_time(plan),
        worded("processed"): _processed_time(plan),
    }


def _upload_time(plan: UploadPlan) -> str:
    if plan.files == plan.listed_files:
        if plan.is_guess:
            return worded("nothing to send, unless the list was changed after its upload")
        return worded("nothing to send")
    time = worded("{time}, as a guess", time=duration(plan.upload_seconds))
    if plan.days <= 1:
        return time
    return time + worded(
        "; on {days}, since the quota is {quota:,} files a day",
        days=counted(plan.days, "day"),
        quota=plan.daily_file_quota,
    )


def _processed_time(plan: UploadPlan) -> str:
    if plan.files > plan.listed_files:
        seconds = max(plan.days - 1, 0) * DAY + plan.upload_seconds + plan.processing_seconds
        return worded("{time} after the start", time=duration(seconds))
    if plan.is_guess:
        return worded("about all of it is with WeChat Pay")
    return worded("all of it is with WeChat Pay")
