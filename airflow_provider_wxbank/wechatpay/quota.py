"""The daily quota: how many files of a merchant WeChat Pay takes a day (FAQ 4015182386: 6,000)."""

from __future__ import annotations

from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.packages import list_tasks, list_tasks_page

DAY = 86_400
SHANGHAI = 8 * 3600
"""Seconds that Asia/Shanghai, whose days are counted, is ahead of UTC; it has no summer time."""


def seconds_to_next_day(unix_seconds: float) -> float:
    """Seconds from a moment to the next midnight in Asia/Shanghai."""
    return DAY - (unix_seconds + SHANGHAI) % DAY


def files_left_today(client: Client, package_id: str, files: int, now: float) -> int | None:
    """How many more files WeChat Pay can take today, as far as this package tells; None if it is no limit for these.

    Files of the merchant's other packages count, too, but no endpoint lists them. One call, as long as the package has
    fewer tasks than the quota; else one for 20 tasks.

    :param files: how many are about to be uploaded.
    :param now: unix seconds.
    """
    quota = client.settings.daily_file_quota
    if list_tasks_page(client, package_id, limit=1).total_count + files <= quota:
        return None
    midnight = now + seconds_to_next_day(now) - DAY
    today = sum(
        task.create_time is not None and task.create_time.timestamp() >= midnight
        for task in list_tasks(client, package_id)
    )
    return max(quota - today, 0)
