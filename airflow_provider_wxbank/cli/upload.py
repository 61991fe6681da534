# SPDX-License-Identifier: Apache-2.0
"""``upload``: what the operator does, without a DAG run, and after a question; or only what it would do."""

from __future__ import annotations

import argparse
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.endpoints import list_tasks_page
from airflow_provider_wxbank.packages.plan import UploadPlan
from airflow_provider_wxbank.packages.quota import DAY
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.reporting.events import Event, FileUploaded, Observer, UploadPlanned, all_of
from airflow_provider_wxbank.reporting.progress import ProgressLog
from airflow_provider_wxbank.steps import UploadInput
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_COLUMNS = (
    Column("task", "task_id"),
    Column("filename", "filename", folds=True),
    Column("rows", "rows", thousands, is_number=True),
)
_PLAN_COLUMNS = (Column("what", "what"), Column("would be", "would_be", folds=True))


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
        reading.enter_context(busy("Reading and checking"))

        def ask(outgoing: Outgoing, client: Client) -> None:
            reading.close()
            if not args.yes:
                _ask(outgoing, client, args.package_id, args.wxbank_conn_id)

        with _progress(args.package_id) as tell:
            result = steps.upload(
                given, WxBankHook(args.wxbank_conn_id), _prefix(args), tell=all_of(sent, audit, tell), asks=ask
            )
    say(f"{number_of(sent.uploaded, 'file')} uploaded, {sent.adopted:,} adopted (there already)")
    tasks = result["tasks"]
    show(args.output, result, tasks, _COLUMNS, {"task_id": number_of(len(tasks), "task"), "rows": result["rows"]})


def _input(args: argparse.Namespace) -> UploadInput:
    if (args.manifest is None) == (args.file is None):
        raise InvalidInput("give either --manifest or --file")
    if args.manifest is not None and args.prefix is not None:
        raise InvalidInput("--prefix goes with --file; the files of a manifest have their names")
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
            "nothing was uploaded: numbers can never be taken out of a package again, so this command asks before it "
            "uploads, and there is no terminal to ask on. Add --yes to upload without a question; --dry-run says what "
            "would be uploaded"
        )


def _ask(outgoing: Outgoing, client: Client, package_id: str, wxbank_conn_id: str) -> None:
    """:raises NotConfirmed: the answer is not yes."""
    # What was typed while the list was read is no answer to a question that was not there yet.
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    files, numbers = number_of(len(outgoing.filenames), "file"), number_of(outgoing.rows, "number")
    merchant = f"merchant {client.settings.merchant.mchid}, connection {wxbank_conn_id}"
    has = _has(list_tasks_page(client, package_id, limit=1).total_count)
    question = (
        f"Upload {files} with {numbers} of {outgoing.bank_type} into package {package_id} ({merchant})? {has}. This "
        "cannot be undone: numbers can never be taken out of a package again. [y/N] "
    )
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NotConfirmed("nothing was uploaded: the answer was not y")


def _has(tasks: int) -> str:
    """What a wrong package id would show by."""
    return f"It has {number_of(tasks, 'upload task')} now" if tasks else "It has no upload task yet"


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
        yield all_of(_say_planned, ProgressLog(_Lines()))
        return
    with ExitStack() as shown:
        bar = package_bar("files", console)

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
        files, numbers = number_of(event.files, "file"), number_of(event.rows, "number")
        say(f"Package {event.package_id}: uploading {files} with {numbers}")


class _Lines:
    """What a log is to an observer, as lines on stderr."""

    def info(self, text: str, *values: object) -> None:
        """Print a line."""
        say(text % values)


def _dry_run(args: argparse.Namespace) -> None:
    with busy("Reading and checking"):
        plan = steps.plan_upload(_input(args), WxBankHook(args.wxbank_conn_id), _prefix(args))
    lines = [{"what": what, "would_be": text} for what, text in _told(plan, args.wxbank_conn_id).items()]
    show(args.output, {"wxbank_conn_id": args.wxbank_conn_id, **asdict(plan)}, lines, _PLAN_COLUMNS)
    say("Nothing was uploaded: this is what would be")


def _told(plan: UploadPlan, wxbank_conn_id: str) -> dict[str, str]:
    """A plan for a person."""
    missing = plan.files - plan.listed_files
    about = "about " if plan.is_guess else ""
    there = f"of which {about}{number_of(plan.listed_files, 'is', 'are')} there already, and would be adopted"
    nothing = "nothing to send, unless the list was changed after its upload" if plan.is_guess else "nothing to send"
    upload = f"{duration(plan.upload_seconds)}, as a guess" if missing else nothing
    if plan.days > 1:
        upload += f"; on {plan.days:,} days, since the quota is {plan.daily_file_quota:,} files a day"
    processed = max(plan.days - 1, 0) * DAY + plan.upload_seconds + plan.processing_seconds
    return {
        "package": f"{plan.package_id}. {_has(plan.package_tasks)}",
        "connection": f"{wxbank_conn_id}, merchant {plan.mchid}",
        "bank type": plan.bank_type,
        "files": f"{plan.files:,}, {there}",
        "numbers": f"{plan.rows:,}",
        "quota": f"{plan.daily_file_quota:,} files a day, of which {plan.files_left_today:,} are left today, as far as "
        "this package tells",
        "upload": upload,
        "processed": f"{duration(processed)} after the start" if missing else f"{about}all of it is with WeChat Pay",
    }
