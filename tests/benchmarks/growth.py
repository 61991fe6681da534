# SPDX-License-Identifier: Apache-2.0
"""Calls that questions about a package cost, by the length of its history: a package is used for years."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from airflow_provider_wxbank.agreements.outgoing import Outgoing, OutgoingFile
from airflow_provider_wxbank.packages.counts import Counts, count
from airflow_provider_wxbank.packages.endpoints import list_tasks
from airflow_provider_wxbank.packages.known import MAX_NEWEST, Known
from airflow_provider_wxbank.packages.poll import poll, poll_new
from airflow_provider_wxbank.packages.quota import files_left_today
from airflow_provider_wxbank.packages.upload import Upload
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, serve
from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.ledger import Task
from airflow_provider_wxbank.simulator.settings import KeyMode
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.flows import run
from airflow_provider_wxbank.wechatpay.kept import KeptList
from airflow_provider_wxbank.wechatpay.settings import read_settings

HISTORIES = (1_000, 10_000, 100_000)
PACKAGE = "8473295"
NEW = 20
TODAY = 60
QUOTA = 100
MAPPED = 200


@dataclass(frozen=True, slots=True)
class Question:
    """What one question cost.

    :param calls: at most, over all histories and both orders.
    :param bar: of :data:`HISTORIES`' longest.
    """

    what: str
    calls: int
    bar: int


def questions() -> Iterator[Question]:
    """The calls of each question, the most over all histories and orders."""
    most: dict[str, int] = {}
    for newest_first in (False, True):
        for tasks in HISTORIES:
            for what, calls in _of_history(tasks, newest_first):
                most[what] = max(most.get(what, 0), calls)
    bars = {"upload of one file": 3, "quota": TODAY // 20 + 2, f"end of a wait of {NEW} files": NEW + 2, "watch": 4}
    for what, bar in bars.items():
        yield Question(f"calls: {what}, {HISTORIES[-1]:,} tasks before", most[what], bar)


def _of_history(tasks: int, newest_first: bool) -> Iterator[tuple[str, int]]:
    now = time.time()
    with serve(SimulatorSettings(processing_seconds=0.0, newest_first=newest_first)) as simulator:
        connection = simulator.airflow_connection()
        extra = {**connection["extra"], "daily_file_quota": QUOTA}
        settings = read_settings(connection["login"], connection["password"], connection["host"], extra)
        with closing(Client(settings)) as client:
            client.encryption_key()
            _add(simulator, tasks, now - 90 * 86_400, 60.0)
            midnight = now - (now + 8 * 3600) % 86_400
            _add(simulator, TODAY, midnight + 1, 0.001)
            yield "quota", _calls(simulator, lambda: files_left_today(client, PACKAGE, QUOTA, now))
            known = Known().plus(list_tasks(client, PACKAGE)) if tasks == HISTORIES[0] else _known(simulator)
            ids = _add(simulator, NEW, now - 30, 0.001)
            yield "watch", _calls(simulator, lambda: run(poll_new(client, PACKAGE, known)))
            target = wanted(PACKAGE, ids)

            def end() -> None:
                seen = run(poll(client, target))
                assert seen.tasks is not None
                assert count(seen.tasks).tasks == NEW

            yield f"end of a wait of {NEW} files", _calls(simulator, end)
            yield "upload of one file", _calls(simulator, lambda: _upload(client, client.encryption_key()))


def calls_of_mapped_uploads(key_mode: KeyMode) -> float:
    """Calls that each of many tasks makes, all told, that upload one file each and share no process."""
    with (
        TemporaryDirectory() as folder,
        serve(SimulatorSettings(key_mode=key_mode, processing_seconds=0.0)) as simulator,
    ):
        kept = KeptList(Path(folder) / "certificates.json")
        connection = simulator.airflow_connection()
        settings = read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])
        with closing(Client(settings)) as exporting:
            key = exporting.encryption_key()

        def uploads() -> None:
            for index in range(MAPPED):
                with closing(Client(settings, kept=kept)) as client:
                    _upload(client, key, f"bench-{index:04d}.csv")

        return _calls(simulator, uploads) / MAPPED


def _upload(client: Client, key: PlatformKey, filename: str = "bench-0001.csv") -> None:
    content = key.public_key.encrypt_lines(["2024"])
    file = OutgoingFile(filename, 1, "ICBC_DEBIT", key.serial_no, lambda: content)
    Upload(client, PACKAGE).run(Outgoing("ICBC_DEBIT", [file.filename], 1, [file]))


def _add(simulator: Simulator, count: int, begin: float, step: float) -> list[str]:
    """Put finished tasks into the simulator's ledger; their ids."""
    package = simulator.app.ledger.packages.setdefault(PACKAGE, {})
    start = len(package)
    for index in range(start, start + count):
        meta = Meta(f"old_{index:06d}.csv", "", "ICBC_DEBIT")
        created = begin + step * (index - start)
        package[meta.filename] = Task(f"9{index:06d}", PACKAGE, meta, 1, 345, "1", created)
    return [f"9{index:06d}" for index in range(start, start + count)]


def _known(simulator: Simulator) -> Known:
    """What a watch knows that has read the whole package; made here, since reading it takes minutes."""
    tasks = list(simulator.app.ledger.packages[PACKAGE].values())
    newest = {task.task_id: float(int(task.created)) for task in tasks[-MAX_NEWEST:]}
    return Known(Counts(len(tasks), len(tasks), 0, len(tasks)), float(int(tasks[-MAX_NEWEST - 1].created)), newest)


def _calls(simulator: Simulator, ask: Callable[[], object]) -> int:
    before = sum(simulator.app.ledger.requests.values())
    ask()
    return sum(simulator.app.ledger.requests.values()) - before
