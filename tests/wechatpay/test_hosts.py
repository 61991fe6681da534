# SPDX-License-Identifier: Apache-2.0
"""Which of two hosts is asked first, and for how long."""

from __future__ import annotations

from airflow_provider_wxbank.wechatpay.hosts import BACKUP_SECONDS, Hosts

MAIN, BACKUP = "https://main.example", "https://backup.example"


def test_the_backup_is_asked_first_for_a_while_and_no_longer() -> None:
    now = 1000.0
    hosts = Hosts(MAIN, BACKUP, lambda: now)
    assert hosts.in_order() == [MAIN, BACKUP]
    hosts.prefer_other_than(MAIN)
    assert hosts.in_order() == [BACKUP, MAIN]
    now += BACKUP_SECONDS - 1
    assert hosts.in_order() == [BACKUP, MAIN]
    now += 1
    assert hosts.in_order() == [MAIN, BACKUP]


def test_a_backup_that_does_not_answer_either_is_left_at_once() -> None:
    hosts = Hosts(MAIN, BACKUP, lambda: 1000.0)
    hosts.prefer_other_than(MAIN)
    hosts.prefer_other_than(BACKUP)
    assert hosts.in_order() == [MAIN, BACKUP]


def test_a_single_host_stays_alone() -> None:
    hosts = Hosts(MAIN, None, lambda: 1000.0)
    hosts.prefer_other_than(MAIN)
    assert hosts.in_order() == [MAIN]
