# SPDX-License-Identifier: Apache-2.0
"""What an upload would do: how many files it would send, within which quota, and how long that takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil

from airflow_provider_wxbank.agreements.outgoing import Outgoing
from airflow_provider_wxbank.packages.endpoints import find_task, list_tasks_page
from airflow_provider_wxbank.packages.pace import processing_seconds, upload_seconds
from airflow_provider_wxbank.packages.quota import files_left_today
from airflow_provider_wxbank.wechatpay.client import Client

MAX_ASKED = 200
"""Files that are asked for one by one: 1.1 million numbers. A longer list is looked at here and there."""


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What an upload would do.

    :param package_tasks: upload tasks that the package has, whoever uploaded them.
    :param files: how many there are, with ``rows`` numbers in them.
    :param listed_files: how many of them WeChat Pay lists already: they would be adopted, and not sent again.
    :param is_guess: whether that is a guess, since not every file was asked for.
    :param daily_file_quota: how many files the merchant may upload in a day.
    :param files_left_today: how many more the day takes, at least; files in other packages count, and are not known.
    :param days: on how many days files would be sent.
    :param upload_seconds: about how long the upload takes, without the nights between.
    :param processing_seconds: about how long WeChat Pay takes for what would be sent.
    """

    mchid: str
    package_id: str
    package_tasks: int
    bank_type: str
    files: int
    rows: int
    listed_files: int
    is_guess: bool
    daily_file_quota: int
    files_left_today: int
    days: int
    upload_seconds: int
    processing_seconds: int


def planned(client: Client, package_id: str, outgoing: Outgoing, at_a_time: int, now: float) -> UploadPlan:
    """What an upload would do. Nothing is sent; WeChat Pay is asked what it lists.

    :param at_a_time: files that are uploaded at a time.
    :param now: unix seconds.
    """
    files = len(outgoing.filenames)
    listed = _listed(client, package_id, outgoing.filenames, at_a_time)
    missing, quota = files - listed, client.settings.daily_file_quota
    left = files_left_today(client, package_id, missing, now).files
    # About: a list of plain numbers is not cut a second time to know how many are in which file.
    rows = ceil(outgoing.rows * missing / files)
    return UploadPlan(
        mchid=client.settings.merchant.mchid,
        package_id=package_id,
        package_tasks=list_tasks_page(client, package_id, limit=1).total_count,
        bank_type=outgoing.bank_type,
        files=files,
        rows=outgoing.rows,
        listed_files=listed,
        is_guess=files > MAX_ASKED,
        daily_file_quota=quota,
        files_left_today=left,
        days=_days(missing, left, quota),
        upload_seconds=upload_seconds(missing, at_a_time),
        processing_seconds=processing_seconds(rows),
    )


def _days(files: int, left_today: int, quota: int) -> int:
    return min(files, left_today, 1) + ceil(max(files - left_today, 0) / quota)


def _listed(client: Client, package_id: str, filenames: Sequence[str], at_a_time: int) -> int:
    """How many of some files WeChat Pay lists.

    Of many files that is found with few calls, as files are uploaded in their order: of an upload that was interrupted,
    only the last that are there may have others missing before them, fewer than were uploaded at a time. It is a guess,
    since a list may have been changed after an upload.
    """

    @cache
    def is_listed(index: int) -> bool:
        return find_task(client, package_id, filenames[index]) is not None

    if len(filenames) <= MAX_ASKED:
        return sum(map(is_listed, range(len(filenames))))
    border = bisect_left(range(len(filenames)), True, key=lambda index: not is_listed(index))
    begin, end = max(border - at_a_time, 0), min(border + at_a_time, len(filenames))
    return begin + sum(map(is_listed, range(begin, end)))
