# SPDX-License-Identifier: Apache-2.0
"""How much of the day's quota of files is used, as far as the records of imports say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_wxbank.reporting.record import Sums


@dataclass(frozen=True, slots=True)
class Today:
    """The files that were sent with a connection today, Asia/Shanghai.

    :param files: about how many. What others send for the same merchant is not known here.
    :param quota: how many the merchant may send; None if that is not known.
    """

    wxbank_conn_id: str | None
    files: int
    quota: int | None


def used_today(uploads: Iterable[tuple[Sums, float | None]], midnight: float) -> list[Today]:
    """By connection, in the order of their ids.

    :param uploads: what uploads have recorded since midnight, each with the beginning of its DAG run.
    """
    files: dict[str | None, int] = {}
    quotas: dict[str | None, int] = {}
    for sums, begin in uploads:
        if sums.step != "upload":
            continue
        # A retry adopts what an earlier try has sent, and that was today if the run has begun today.
        is_of_today = begin is not None and begin >= midnight
        sent = sums.files if is_of_today else sums.sent if sums.day == midnight else 0
        conn_id = sums.wxbank_conn_id
        files[conn_id] = files.get(conn_id, 0) + (sent or 0)
        if sums.quota is not None:
            quotas[conn_id] = sums.quota
    return [Today(conn_id, files[conn_id], quotas.get(conn_id)) for conn_id in sorted(files, key=str) if files[conn_id]]
