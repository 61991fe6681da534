# SPDX-License-Identifier: Apache-2.0
"""TaskFinishedSensor: waits until WeChat Pay has processed upload tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseSensorOperator, PokeReturnValue, conf

from airflow_provider_wxbank.assets import SENSOR_OUTLETS, write_event
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.links import LINKS
from airflow_provider_wxbank.packages.counts import (
    Counts,
    check_fail_ratio,
    check_matched,
    count,
    finished_file,
    likely_mistake,
)
from airflow_provider_wxbank.packages.poll import finished_tasks
from airflow_provider_wxbank.packages.reconcile import Accounted, disagreement, reconciled, sent_files
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wait import Look, Waiting, looked, wait
from airflow_provider_wxbank.packages.wanted import Wanted, wanted
from airflow_provider_wxbank.parameters import WHY_NONE, TextParameters, list_of_texts, text
from airflow_provider_wxbank.receipts import Waited, check_place, receipt_place, run_of, seal_of, write_receipt
from airflow_provider_wxbank.reporting.events import FinishedFile, Observer, all_of
from airflow_provider_wxbank.reporting.failing import failing
from airflow_provider_wxbank.reporting.lineage import Done, ReportsLineage
from airflow_provider_wxbank.reporting.metrics import Metrics, sends_metrics
from airflow_provider_wxbank.reporting.progress import PollLog
from airflow_provider_wxbank.reporting.record import Sums, read_finished
from airflow_provider_wxbank.reporting.recorder import Recorder
from airflow_provider_wxbank.retry_policy import with_retry_policy
from airflow_provider_wxbank.triggers import MAX_WANTED, TaskFinishedTrigger
from airflow_provider_wxbank.uploads import results_of, wanted_of
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WaitFailed, WxBankError
from airflow_provider_wxbank.wechatpay.flows import run
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, XComArg
    from airflow.providers.openlineage.extractors import OperatorLineage


class TaskFinishedSensor(TextParameters, ReportsLineage, BaseSensorOperator):
    """Wait until upload tasks are finished, and sum up what WeChat Pay counted.

    WeChat Pay takes about 40 minutes for a file and processes about 1.3 million numbers an hour. A poll costs one call,
    however many tasks there are. Name the tasks in one of three ways: by ``upload``; by ``package_id`` with
    ``task_ids`` or ``filenames``; by ``package_id`` alone, which means every task in the package.

    Its success is an event of the asset ``wxbank://PACKAGE_ID``, with the result as extra; see :mod:`.assets`.

    :param upload: a result of :class:`.UploadTaskOperator`, or a list of them for one package (templated).
    :param package_id: the number package (templated).
    :param task_ids: upload tasks of the package (templated).
    :param filenames: files of the package (templated).
    :param max_fail_ratio: fail if more than this share of the numbers did not match, 0 to 1; None accepts any.
    :param receipt_path: folder for ``receipt.json``, or a path that ends in ``.json``: an absolute path, or a URL like
        ``s3://conn_id@bucket/folder`` (templated). When the tasks are finished, whether enough matched or not, a sealed
        receipt is written there once, and is never overwritten; see :mod:`.reporting.receipt`. Each task of each run
        needs its own.
    :param deferrable: wait in the triggerer, without a worker slot. Of the arguments of every sensor
        ``poke_interval``, ``timeout``, ``exponential_backoff``, ``max_wait`` and ``soft_fail`` mean the same there;
        ``mode`` means nothing, and ``silent_fail`` and ``never_fail`` are for ``deferrable=False`` only.
    :param wxbank_conn_id: connection of type ``wxbank`` (templated).
    :return: ``{"package_id", "tasks", "rows", "success_count", "fail_count", "success_user_count", "unaccounted"}``;
        ``tasks`` is a count, ``rows`` are the numbers in their files, and ``unaccounted`` is by how many the counts
        differ from them, file by file: 0 if they agree. These two are None unless ``upload`` is given, which tells the
        rows. With ``receipt_path`` also ``"receipt"``: its URI with its identity, ``.../receipt.json#`` and 16
        hexadecimal digits.
    """

    template_fields: Sequence[str] = (
        "upload",
        "package_id",
        "task_ids",
        "filenames",
        "receipt_path",
        "wxbank_conn_id",
    )
    texts = frozenset({"package_id", "receipt_path", "wxbank_conn_id"})
    paths = frozenset({"receipt_path"})
    of_texts = frozenset({"upload", "task_ids", "filenames"})
    ui_color = "#95d5b2"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        upload: Mapping[str, Any] | Sequence[Mapping[str, Any]] | XComArg | None = None,
        package_id: str | None = None,
        task_ids: Sequence[str] | None = None,
        filenames: Sequence[str] | None = None,
        max_fail_ratio: float | None = None,
        receipt_path: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        wxbank_conn_id: str = WxBankHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(kwargs))
        # Outlets are declared before a run, when the package may not be known yet.
        self.outlets = [*self.outlets, *SENSOR_OUTLETS]
        # If this is another task's output, Airflow replaces it with the value before it is used.
        self.upload = cast("Mapping[str, Any] | Sequence[Mapping[str, Any]] | None", upload)
        self.package_id = package_id
        self.task_ids = task_ids
        self.filenames = filenames
        self.max_fail_ratio = max_fail_ratio
        self.receipt_path = receipt_path
        self.deferrable = deferrable
        self.wxbank_conn_id = wxbank_conn_id
        self._done = Done()
        self._waiting: Waiting | None = None

    @cached_property
    def hook(self) -> WxBankHook:
        """One hook for all pokes, so that certificates are downloaded once."""
        return WxBankHook(self.wxbank_conn_id)

    @forgets_locals
    @sends_metrics
    def execute(self, context: Context) -> Any:
        """Wait in this worker, or look once and leave the rest to the triggerer."""
        with failing("wait", lambda event: Recorder(context, self._sums())(event)):
            self._check_receipt(context)
            return self._execute(context)

    def _execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        # What is finished already needs no triggerer, and a wrong connection fails here.
        seen = self.poke(context)
        if seen.is_done:
            return seen.xcom_value
        target = self._target()
        if (target.count or 0) > MAX_WANTED:
            raise InvalidInput(
                f"this wait is for {target.count} upload tasks, and a deferred one for at most {MAX_WANTED}, since "
                "Airflow keeps them in its database: split it into several sensors, or set deferrable=False"
            )
        self.defer(
            trigger=TaskFinishedTrigger(
                target.package_id,
                None if target.task_ids is None else sorted(target.task_ids),
                None if target.filenames is None else sorted(target.filenames),
                self.poke_interval,
                self.wxbank_conn_id,
                self.exponential_backoff,
                None if self.max_wait is None else self.max_wait.total_seconds(),
                time.time() + self.timeout,
            ),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=self.timeout),
        )
        raise AssertionError("defer() does not return")

    @forgets_locals
    def poke(self, context: Context) -> PokeReturnValue:
        """Look once. An outage of WeChat Pay is waited through, like tasks that are processing."""
        target, client = self._target(), self.hook.get_conn()
        # Kept from poke to poke as long as this process lives, but not after a failure, which ends the generator.
        waiting = self._waiting or wait(target, self._observer(context, target))
        self._waiting = None
        step = next(waiting)
        assert isinstance(step, Look)
        try:
            waiting.send(run(looked(step, client)))
        except StopIteration as finished:
            tasks = finished.value
        else:
            self._waiting = waiting
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._result_of(context, target, tasks))

    @forgets_locals
    @sends_metrics
    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's event; any status but ``finished`` fails the task."""
        given = event if isinstance(event, Mapping) else {}
        status = given.get("status")
        if status != "finished":
            message = given.get("message") or f"the trigger sent an unknown event (status {status!r})"
            # A failure that may pass is worth the task's retries, as it is when the sensor itself polls.
            failure = WaitFailed if given.get("is_lasting", True) else WxBankError
            raise failure(f"Waiting for the upload tasks failed: {message}")
        target = self._target()
        try:
            counts = Counts.read(given.get("counts"))
        except InvalidInput:
            raise WxBankError("the trigger sent an event that cannot be read: run this sensor again") from None
        if target.count not in (None, counts.tasks):
            raise WxBankError(
                f"the trigger saw {counts.tasks} tasks, and this sensor waits for {target.count}: run this sensor again"
            )
        pieces = given.get("tasks")
        files = [
            file for piece in (pieces if isinstance(pieces, list) else ()) for file in read_finished(piece) if file
        ]
        # The trigger may know the tasks by digests alone, and two can look alike.
        if not all(map(target.includes, files)):
            raise WxBankError("the triggerer took a task of somebody else for one of these: run this sensor again")
        if self.receipt_path is not None:
            # An event passes through Airflow's database. A receipt says what WeChat Pay has signed.
            return self._result_of(context, target, finished_tasks(self.hook.get_conn(), target))
        return self._result(context, target, counts, Accounted.read(given.get("accounted")), files)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Airflow calls this after the wait in the triggerer, also if that took too long."""
        with failing("wait", lambda event: Recorder(context, self._sums())(event)):
            return super().resume_execution(next_method, next_kwargs, context)

    def _sums(self, package_id: str | None = None) -> Sums:
        return Sums("wait", wxbank_conn_id=self.wxbank_conn_id, package_id=package_id)

    def _observer(self, context: Context, target: Wanted) -> Observer:
        sums = self._sums(target.package_id)
        return all_of(PollLog(self.log), Recorder(context, sums), Metrics(self.wxbank_conn_id), self._done)

    def _target(self) -> Wanted:
        """What to wait for, checked."""
        check_fail_ratio(self.max_fail_ratio)
        if self.upload is None:
            if self.package_id is None:
                raise InvalidInput(f"give upload, or package_id. Both are None: {WHY_NONE}")
            return wanted(
                text(self.package_id, "package_id"),
                None if self.task_ids is None else list_of_texts(self.task_ids, "task_ids"),
                None if self.filenames is None else list_of_texts(self.filenames, "filenames"),
            )
        if not (self.package_id is None and self.task_ids is None and self.filenames is None):
            raise InvalidInput("give upload, or package_id with task_ids or filenames, and not both")
        return wanted_of(self._uploads)

    @cached_property
    def _uploads(self) -> list[Mapping[str, Any]]:
        """The results of uploads; none if tasks are named otherwise. Those of mapped tasks are asked for one by one."""
        return [] if self.upload is None else results_of(self.upload)

    def _check_receipt(self, context: Context) -> None:
        """:raises InvalidInput: a receipt cannot be written where it should be. Told before the wait."""
        if self.receipt_path is not None:
            check_place(receipt_place(self.receipt_path), run_of(context), seal_of(self.hook.get_conn()))

    def _receipt(self, context: Context, target: Wanted, tasks: Sequence[UploadTask]) -> str | None:
        """The receipt's URI with its identity, once it is written; None without one."""
        if self.receipt_path is None:
            return None
        waited = Waited(target, self._uploads, tasks, run_of(context), self.max_fail_ratio)
        return write_receipt(self.receipt_path, waited, self.hook.get_conn(), self._observer(context, target))

    def _result_of(self, context: Context, target: Wanted, tasks: Sequence[UploadTask]) -> dict[str, Any]:
        files = map(finished_file, tasks)
        return self._result(context, target, count(tasks), Accounted.of(tasks), files, tasks)

    def _result(
        self,
        context: Context,
        target: Wanted,
        counts: Counts,
        accounted: Accounted | None,
        files: Iterable[FinishedFile],
        tasks: Sequence[UploadTask] = (),
    ) -> dict[str, Any]:
        uploads = self._uploads
        counts, differing = reconciled(counts, sent_files(uploads) if uploads else None, accounted)
        # Told before the check below, so that the counts are also recorded when they fail the task.
        self._observer(context, target)(counts.event(target.package_id, files))
        if mistake := likely_mistake(counts):
            self.log.error(mistake)
        if warning := disagreement(target.package_id, counts, differing):
            self.log.warning(warning)
        # Before the check, too: what happened is to be shown whether enough matched or not.
        receipt = self._receipt(context, target, tasks)
        check_matched(counts, self.max_fail_ratio)
        result = counts.of_package(target.package_id)
        if receipt is not None:
            result["receipt"] = receipt
        write_event(context, self, result)
        return result

    def lineage(self) -> OperatorLineage[Any, Any]:
        """The package, as what was written, and the counts."""
        from airflow_provider_wxbank.reporting.openlineage import wait_lineage

        receipt = self._done.receipt
        return wait_lineage(self._target().package_id, self._done.finished, None if receipt is None else receipt.sha256)
