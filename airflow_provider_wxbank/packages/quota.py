# SPDX-License-Identifier: Apache-2.0
"""The daily quota: how many files WeChat Pay takes from a merchant in a day (FAQ 4015182386: 6,000)."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from airflow_provider_wxbank.packages.endpoints import alist_tasks_page
from airflow_provider_wxbank.packages.newest import newest_tasks
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.flows import Caller, run

DAY = 86_400
SHANGHAI = 8 * 3600
"""Seconds that Asia/Shanghai, whose days are counted, is ahead of UTC; it has no summer time."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of the day's quota.

    :param files: how many more files WeChat Pay can take today, at least.
    :param is_enough: whether that is enough for what was asked for. If not, it is exact, as far as the package tells.
    """

    files: int
    is_enough: bool


def day_of(unix_seconds: float) -> float:
    """When the day of a moment began in Asia/Shanghai, unix seconds."""
    return unix_seconds - (unix_seconds + SHANGHAI) % DAY


def seconds_to_next_day(unix_seconds: float) -> float:
    """Seconds from a moment to the next midnight in Asia/Shanghai."""
    return DAY - (unix_seconds + SHANGHAI) % DAY


def files_left_today(client: Client, package_id: str, files: int, now: float) -> Left:
    """How many more files WeChat Pay can take today, as far as this package tells.

    Files in the merchant's other packages count, too, but no endpoint lists them. It takes one call as long as the
    package has fewer tasks than the quota; otherwise two, and one for each 20 of today's.

    :param files: how many are about to be uploaded.
    :param now: unix seconds.
    """
    return run(_files_left_today(client, package_id, files, now))


async def _files_left_today(client: Caller, package_id: str, files: int, now: float) -> Left:
    quota = client.settings.daily_file_quota
    first = await alist_tasks_page(client, package_id)
    # If the tasks of all days and these files are within the quota, those of today are, too.
    if first.total_count + files <= quota:
        return Left(quota - first.total_count, is_enough=True)
    midnight = now + seconds_to_next_day(now) - DAY
    today = 0
    async with aclosing(newest_tasks(client, package_id, first)) as tasks:
        async for task in tasks:
            if task.create_time is not None and task.create_time.timestamp() < midnight:
                # The newest come first, so all others are of earlier days, too. If not, this is a forecast only.
                break
            today += 1
    left = max(quota - today, 0)
    return Left(left, is_enough=left >= files)
