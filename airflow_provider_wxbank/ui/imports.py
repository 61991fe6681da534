"""What a DAG run's tasks and their records say of its imports: how far each is, and when it will be done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_wxbank.wechatpay.uploads import FILE_SECONDS, NUMBERS_AN_HOUR

Step = Literal["export", "upload", "wait"]
StepState = Literal["none", "todo", "running", "retrying", "done", "failed", "skipped"]
State = Literal["exporting", "exported", "uploading", "uploaded", "processing", "finished", "failed", "skipped"]

STEPS: Mapping[str, Step] = {
    "ExportUsersOperator": "export",
    "UploadTaskOperator": "upload",
    "TaskFinishedSensor": "wait",
}

TRUSTED_SHARE = 0.1
"""Share of the files that must be finished before their speed is believed more than WeChat Pay's guide."""


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run; times are unix seconds."""

    id: int
    dag_id: str
    run_id: str
    state: str
    begin: float | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task instance of ours and its record; times are unix seconds."""

    task_id: str
    map_index: int
    step: Step
    state: str | None
    begin: float | None = None
    end: float | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def package_id(self) -> str | None:
        """The package, once the task has begun; an export has none."""
        package_id = self.record.get("package_id")
        return package_id if isinstance(package_id, str) else None

    def number(self, name: str) -> int | None:
        """A number of the record."""
        value = self.record.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def count(self, name: str) -> int | None:
        """A number that WeChat Pay counted, once the wait is over."""
        value = self.record.get("counts")
        number = value.get(name) if isinstance(value, Mapping) else None
        return number if isinstance(number, int) else None


@dataclass(frozen=True, slots=True)
class Import:
    """One DAG run's import into one package; what is not known is None, and times are unix seconds.

    :param steps: state of export, upload and wait.
    :param files: how many there are, of which ``uploaded`` are with WeChat Pay and ``finished`` are processed.
    :param rows: numbers in them, of which ``rows_uploaded`` are with WeChat Pay.
    :param failed_files: files of which not one number matched.
    :param expected: when WeChat Pay will be done, roughly.
    """

    dag_id: str
    run_id: str
    run_state: str
    package_id: str | None
    state: State
    steps: Mapping[Step, StepState]
    begin: float | None
    end: float | None
    files: int | None
    uploaded: int
    finished: int
    rows: int | None
    rows_uploaded: int
    skipped: int
    success_count: int | None
    fail_count: int | None
    success_user_count: int | None
    failed_files: int
    expected: float | None
    seen_at: float | None
    bank_types: Sequence[str]
    wxbank_conn_ids: Sequence[str]


def imports(run: Run, tasks: Sequence[Task], now: float) -> list[tuple[Import, list[Task]]]:
    """The imports of a DAG run, one a package, each with its tasks."""
    return [(_import(run, package_id, group, now), group) for package_id, group in by_package(tasks)]


def by_package(tasks: Sequence[Task]) -> Iterator[tuple[str | None, list[Task]]]:
    """The tasks of each package. An export belongs to the package that its manifest is uploaded into."""
    packages = list(dict.fromkeys(task.package_id for task in tasks if task.package_id is not None))
    if len(packages) <= 1:
        yield (packages[0] if packages else None), list(tasks)
        return
    for package_id in packages:
        ours = [task for task in tasks if task.package_id == package_id]
        manifests = {task.record.get("manifest") for task in ours} - {None}
        exports = [task for task in tasks if task.step == "export" and task.record.get("manifest") in manifests]
        yield package_id, [*exports, *ours]


def step_state(states: Collection[str | None]) -> StepState:
    """The state of a step from the states of its task instances."""
    if not states:
        return "none"
    known = set(states)
    if known & {"failed", "upstream_failed"}:
        return "failed"
    if "up_for_retry" in known:
        return "retrying"
    if known <= {"success", "skipped", "removed"}:
        return "done" if "success" in known else "skipped"
    return "todo" if known <= {None, "scheduled", "queued", "removed"} else "running"


def state_of(steps: Mapping[Step, StepState], run_is_over: bool) -> State:
    """How far an import is."""
    export, upload, wait = steps["export"], steps["upload"], steps["wait"]
    if "failed" in steps.values():
        return "failed"
    if wait == "done":
        return "finished"
    if "skipped" in steps.values():
        return "skipped"
    if wait in ("running", "retrying") and upload in ("none", "done"):
        return "processing"
    if upload == "done":
        return "uploaded" if wait == "none" or run_is_over else "processing"
    if upload in ("running", "retrying"):
        return "uploading"
    return "exported" if export in ("done", "none") else "exporting"


def expected_end(begin: float, last_upload: float, rows: int, finished_share: float, seen_at: float | None) -> float:
    """When WeChat Pay will be done, roughly.

    By its guide (FAQ 4015182386: 40 minutes for one file, 1.3 million numbers an hour), and once a tenth of the files
    is finished, by the speed of this import.

    :param begin: the first upload.
    :param last_upload: the last upload, or now while uploads go on.
    :param finished_share: share of the files that were finished at ``seen_at``.
    """
    if seen_at is not None and seen_at > begin and TRUSTED_SHARE <= finished_share < 1:
        return begin + (seen_at - begin) / finished_share
    return max(last_upload + FILE_SECONDS, begin + rows * 3600 / NUMBERS_AN_HOUR)


def _import(run: Run, package_id: str | None, tasks: Sequence[Task], now: float) -> Import:
    of: dict[Step, list[Task]] = {step: [task for task in tasks if task.step == step] for step in _ORDER}
    steps: dict[Step, StepState] = {step: step_state([task.state for task in of[step]]) for step in _ORDER}
    state = state_of(steps, run.state in ("success", "failed"))
    uploads, waits = of["upload"], of["wait"]
    uploaded, rows_uploaded = _sum(uploads, "files"), _sum(uploads, "rows")
    files = _total(of["export"], steps["export"], "files", uploads, "total_files")
    rows = _total(of["export"], steps["export"], "rows", uploads, "total_rows")
    counted = [task for task in waits if task.count("tasks") is not None]
    waited = sum(_waited(task) for task in waits)
    if not uploads:
        # The files were uploaded elsewhere.
        files = uploaded = waited
        rows = rows_uploaded = sum(
            (task.count("success_count") or 0) + (task.count("fail_count") or 0) for task in waits
        )
    finished = sum(_finished(task) for task in waits)
    seen_at = max((task.record["at"] for task in waits if task.number("at") is not None), default=None)
    begin = min((task.begin for task in tasks if task.begin is not None), default=run.begin)
    begin_upload = min((task.begin for task in uploads if task.begin is not None), default=None)
    expected = None
    if state in ("uploading", "uploaded", "processing") and begin_upload is not None:
        ends = [task.end for task in uploads]
        last = now if state == "uploading" else max((end for end in ends if end is not None), default=now)
        expected = expected_end(begin_upload, last, rows or rows_uploaded, finished / files if files else 0.0, seen_at)
    is_over = state in ("finished", "failed", "skipped")

    def counts(name: str) -> int | None:
        return sum(task.count(name) or 0 for task in counted) if counted else None

    return Import(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_state=run.state,
        package_id=package_id,
        state=state,
        steps=steps,
        begin=begin,
        end=max((task.end for task in tasks if task.end is not None), default=None) if is_over else None,
        files=files,
        uploaded=uploaded,
        finished=min(finished, uploaded) if uploads else finished,
        rows=rows,
        rows_uploaded=rows_uploaded,
        skipped=_sum(of["export"], "skipped"),
        success_count=counts("success_count"),
        fail_count=counts("fail_count"),
        success_user_count=counts("success_user_count"),
        failed_files=counts("failed_files") or 0,
        expected=expected,
        seen_at=seen_at,
        bank_types=_texts(tasks, "bank_type"),
        wxbank_conn_ids=_texts(tasks, "wxbank_conn_id"),
    )


_ORDER: tuple[Step, ...] = ("export", "upload", "wait")


def _sum(tasks: Iterable[Task], name: str) -> int:
    return sum(task.number(name) or 0 for task in tasks)


def _total(
    exports: Sequence[Task], export: StepState, name: str, uploads: Sequence[Task], upload_name: str
) -> int | None:
    """From the exports once all are done, else from the uploads once all know it."""
    if export == "done":
        return _sum(exports, name)
    totals = [task.number(upload_name) for task in uploads]
    if exports or not totals or None in totals:
        return None
    return sum(total or 0 for total in totals)


def _waited(task: Task) -> int:
    return task.count("tasks") or task.number("tasks") or 0


def _finished(task: Task) -> int:
    """How many tasks a wait has seen finished, at least."""
    if (counted := task.count("tasks")) is not None:
        return counted
    tasks, processing = task.number("tasks"), task.number("processing")
    return 0 if tasks is None or processing is None else max(tasks - processing, 0)


def _texts(tasks: Iterable[Task], name: str) -> list[str]:
    found = (task.record.get(name) for task in tasks)
    return list(dict.fromkeys(text for text in found if isinstance(text, str) and text))


FileRow = tuple[str, str, int | None, int | None, int | None, int | None, int | None, int | None]
"""Filename, task id, rows, when uploaded, when finished, success_count, fail_count, success_user_count."""


def file_rows(uploaded: Iterable[Sequence[Any]], finished: Iterable[Sequence[Any]]) -> list[FileRow]:
    """A row for each file, from what uploads and waits recorded of it.

    :param uploaded: rows of :data:`airflow_provider_wxbank.record.UPLOADED`.
    :param finished: rows of :func:`airflow_provider_wxbank.record.finished_rows`.
    """
    files: dict[str, FileRow] = {
        task_id: (filename, task_id, rows, at, None, None, None, None) for filename, task_id, rows, at in uploaded
    }
    for task_id, filename, created, updated, success, fail, users in finished:
        rows = files[task_id][2] if task_id in files else None
        if rows is None and success is not None and fail is not None:
            rows = success + fail
        at = (files[task_id][3] if task_id in files else None) or created
        files[task_id] = (filename, task_id, rows, at, updated, success, fail, users)
    return list(files.values())
