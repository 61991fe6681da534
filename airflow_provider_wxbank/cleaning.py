# SPDX-License-Identifier: Apache-2.0
"""CleanExportsOperator; users import it from :mod:`.operators`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.parameters import TextParameters
from airflow_provider_wxbank.receipts import seal_of
from airflow_provider_wxbank.retention import age_of, clean, summed
from airflow_provider_wxbank.retry_policy import with_retry_policy
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class CleanExportsOperator(TextParameters, BaseOperator):
    """Remove exports that are not needed any more: their encrypted files and their manifests.

    An export is removed if a receipt of :class:`.TaskFinishedSensor` says that all its files are finished and that the
    sums agree; with ``older_than`` also if it is older. What is not an export of this connection is left, and so are
    receipts. Links are not followed. If it is interrupted, the next run goes on. An export that cannot be removed fails
    the task once all others were looked at.

    :param output_path: a folder in which exports are, as of :class:`.ExportUsersOperator`, or a folder of such folders
        (templated).
    :param older_than: such as ``7d`` or ``12h``, or a timedelta, at least an hour: exports that no receipt calls
        finished are removed once they are older than this. None keeps them. Choose more than the longest import takes,
        with all its retries (templated).
    :param receipts: a folder in which receipts are, unless they are in ``output_path``, too (templated).
    :param dry_run: only log what would be removed.
    :param wxbank_conn_id: connection of type ``wxbank``, of the merchant of these exports (templated).
    :return: ``{"removed", "kept", "left", "files", "bytes"}``: how many exports, and the files and bytes of those that
        were removed.
    """

    template_fields: Sequence[str] = ("output_path", "older_than", "receipts", "wxbank_conn_id")
    texts = frozenset(template_fields)
    paths = frozenset({"output_path", "receipts"})
    or_numbers = frozenset({"older_than"})
    ui_color = "#eef3ef"

    def __init__(
        self,
        *,
        output_path: str,
        older_than: str | timedelta | None = None,
        receipts: str | None = None,
        dry_run: bool = False,
        wxbank_conn_id: str = WxBankHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(kwargs))
        self.output_path = output_path
        self.older_than = older_than
        self.receipts = receipts
        self.only_tells = dry_run
        self.wxbank_conn_id = wxbank_conn_id

    @forgets_locals
    def execute(self, context: Context) -> dict[str, int]:
        """Remove; return how much."""
        self.check_texts()
        # A text is true whatever it says.
        if not isinstance(self.only_tells, bool):
            raise InvalidInput(f"dry_run must be True or False, not of type {type(self.only_tells).__name__}")
        older_than = age_of(self.older_than)
        found = []
        with closing(WxBankHook(self.wxbank_conn_id).get_conn()) as client:
            for one in clean(
                self.output_path,
                seal_of(client),
                older_than=older_than,
                receipts=self.receipts,
                dry_run=self.only_tells,
            ):
                self.log.info("%s: %s%s: %s", one.manifest, "would be " * self.only_tells, one.outcome, one.why)
                found.append(one)
        return summed(found)
