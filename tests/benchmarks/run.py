# SPDX-License-Identifier: Apache-2.0
"""Speed as ratios taken in one run: ours against a reference, in turns. Nothing passes or fails.

Usage: python -m tests.benchmarks.run [--json FILE] [--only-export ROWS]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from operator import call
from pathlib import Path
from statistics import median

import gmssl_pyx
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from airflow_provider_wxbank.agreements.encryption import in_order
from airflow_provider_wxbank.agreements.files import MAX_ROWS, PlainFile, batches, plain_files
from airflow_provider_wxbank.agreements.numbers import Tally, Values, checked_numbers
from airflow_provider_wxbank.agreements.outgoing import Outgoing, OutgoingFile
from airflow_provider_wxbank.agreements.processes import EncryptionProcesses
from airflow_provider_wxbank.packages.counts import count
from airflow_provider_wxbank.packages.endpoints import create_task
from airflow_provider_wxbank.packages.poll import Poll, poll
from airflow_provider_wxbank.packages.upload import Upload
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator.settings import KeyMode
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.crypto.rsa import RsaPublicKey
from airflow_provider_wxbank.wechatpay.crypto.sm2 import Sm2PublicKey
from airflow_provider_wxbank.wechatpay.flows import run
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.benchmarks.charts import draw
from tests.benchmarks.exports import database, measure
from tests.benchmarks.growth import calls_of_mapped_uploads, questions
from tests.benchmarks.reading import LAYOUTS, write
from tests.benchmarks.reading import measure as measure_text
from tests.benchmarks.triggers import FIRST_PACKAGE, POLL_SECONDS
from tests.harness.terminal import end_with

ROWS = 330_000
SM2_ROWS = 33_000
ROUNDS, SM2_ROUNDS = 7, 3
LAPS = 150
LAP_ROWS, SM2_LAP_ROWS = MAX_ROWS, MAX_ROWS // 20
"""One thread: its bars are the nearest ones. Files, and rows of one: a fifth of a second."""
FILES, FILE_ROWS, WORKERS, LATENCY = 200, 500, 8, 0.2
TASKS, POLLS = 1000, 20
WAITS, WAIT_SECONDS = 1000, 30.0
EXPORTS = (100_000, 500_000, 1_000_000, 2_000_000)
COMPARED_EXPORT, EXPORT_ROUNDS = 500_000, 3
"""Enough rows that the time to start processes and to connect is a small part for both sides, as in a real list."""
TEXTS, TEXT_ROUNDS = (100_000, 2_000_000), 7
PACKAGE = "8473295"
CONNECTION = "WXBANK_BENCHMARK_CONNECTION"
"""The variable that has the simulator's connection."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    :param figure: what the bar is about: a ratio, or a difference.
    :param bar: ``>= 0.9`` or ``<= 1.25``.
    """

    what: str
    ours: str
    reference: str
    figure: float
    bar: str

    @property
    def is_met(self) -> bool:
        """Whether the figure reaches the bar."""
        sign, _, limit = self.bar.partition(" ")
        return self.figure >= float(limit) if sign == ">=" else self.figure <= float(limit)


def numbers(count: int) -> list[str]:
    """As many numbers as wanted."""
    return [f"2024{index:014d}" for index in range(count)]


def encrypt_bare(key: RSAPublicKey, rows: list[str]) -> None:
    """The reference: nothing but the library's call."""
    padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)
    for number in rows:
        key.encrypt(number.encode(), padding)


def encrypt_bare_pem(job: tuple[bytes, int]) -> None:
    """The reference in a process of its own."""
    pem, rows = job
    key = load_pem_public_key(pem)
    assert isinstance(key, RSAPublicKey)
    encrypt_bare(key, numbers(rows))


def agreement_files(key: PlatformKey, rows: list[str], max_rows: int = MAX_ROWS) -> Iterator[PlainFile]:
    """From values to files with names, as an export does it."""
    starts = range(0, len(rows), MAX_ROWS)
    values = (Values("row", range(start, start + MAX_ROWS), rows[start : start + MAX_ROWS]) for start in starts)
    checked = checked_numbers(values, "fail", Tally())
    return plain_files(batches(checked, lambda: key, max_rows), "bench", b"key", "ICBC_DEBIT")


def encrypt_ours(key: PlatformKey, rows: list[str]) -> None:
    """From values to the bytes of agreement files, as an export does it."""
    files = agreement_files(key, rows)
    with EncryptionProcesses() as processes:
        for _ in in_order(
            lambda file: processes.encrypt_lines(file.key.public_key, file.numbers), files, processes.threads
        ):
            pass


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def one_thread(what: str, key: PlatformKey, bare: Callable[[list[str]], object], lap_rows: int) -> Row:
    """From values to the bytes of agreement files in one thread, against the bare loop; a file a lap, by turns.

    Each lap is compared with its neighbour: a shared machine loses up to half of its speed, for a tenth of a second as
    well as for minutes.
    """
    rows = numbers(LAPS * lap_rows)
    encrypted = map(PlainFile.encrypted, agreement_files(key, rows, lap_rows))
    mine, theirs = list[float](), list[float]()
    works = (mine, lambda _: next(encrypted)), (theirs, bare)
    for lap in range(LAPS):
        part = rows[lap * lap_rows : (lap + 1) * lap_rows]
        # By turns, since whoever comes second finds the numbers in the processor's caches.
        for column, work in works if lap % 2 else reversed(works):
            column.append(seconds(partial(work, part)))
    return ratio(what, mine, theirs, lap_rows, ">= 0.95")


def ratio(what: str, ours: list[float], reference: list[float], rows: int, bar: str) -> Row:
    """Rows a second, ours to the reference's; each time of ours is compared with the reference's beside it."""
    mine, theirs = median(ours), median(reference)
    figure = median(their / our for our, their in zip(ours, reference, strict=True))
    return Row(what, f"{rows / mine:,.0f} rows/s", f"{rows / theirs:,.0f} rows/s", figure, bar)


def compare(
    what: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    bar: str,
    rows: int = ROWS,
    rounds: int = ROUNDS,
) -> Row:
    """Rows a second, ours to the reference's, in turns."""
    pairs = [(seconds(ours), seconds(reference)) for _ in range(rounds)]
    mine, theirs = (list(column) for column in zip(*pairs, strict=True))
    return ratio(what, mine, theirs, rows, bar)


def encryption() -> Iterator[Row]:
    """Encrypting and splitting, against the bare loop."""
    public = generate_private_key(65537, 2048).public_key()
    key, rows = PlatformKey("0A", RsaPublicKey.of(public)), numbers(ROWS)
    yield one_thread("encrypt and split, one thread", key, partial(encrypt_bare, public), LAP_ROWS)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with ProcessPoolExecutor(2) as pool:
        halves = [(pem, ROWS // 2)] * 2
        list(pool.map(encrypt_bare_pem, halves))
        yield compare(
            "encrypt and split, default settings",
            lambda: encrypt_ours(key, rows),
            lambda: list(pool.map(encrypt_bare_pem, halves)),
            ">= 0.9",
        )


def encrypt_bare_sm2(point: bytes, rows: list[str]) -> None:
    """The reference in SM2."""
    for number in rows:
        gmssl_pyx.sm2_encrypt(point, number.encode())


def encryption_sm2() -> Iterator[Row]:
    """The same in SM2."""
    point, _ = gmssl_pyx.sm2_key_generate()
    key, rows = PlatformKey("0A", Sm2PublicKey(point)), numbers(SM2_ROWS)
    yield one_thread("SM2: encrypt and split, one thread", key, partial(encrypt_bare_sm2, point), SM2_LAP_ROWS)
    with ProcessPoolExecutor(2) as pool:
        half = partial(encrypt_bare_sm2, point)
        halves = [rows[::2], rows[1::2]]
        list(pool.map(half, halves))
        yield compare(
            "SM2: encrypt and split, default settings",
            lambda: encrypt_ours(key, rows),
            lambda: list(pool.map(half, halves)),
            ">= 0.9",
            SM2_ROWS,
            SM2_ROUNDS,
        )


def exporting() -> Iterator[Row]:
    """Exports from PostgreSQL: what they need as they grow, and what one written by hand around an SDK takes."""
    with database(max(EXPORTS)) as uri:
        pairs = [
            (measure(uri, COMPARED_EXPORT, "ours"), measure(uri, COMPARED_EXPORT, "wechatpayv3"))
            for _ in range(EXPORT_ROUNDS)
        ]
        mine, theirs = (median(one.seconds for one in column) for column in zip(*pairs, strict=True))
        yield Row(
            "export from PostgreSQL, by hand with wechatpayv3",
            f"{COMPARED_EXPORT / mine:,.0f} rows/s",
            f"{COMPARED_EXPORT / theirs:,.0f} rows/s",
            median(reference.seconds / own.seconds for own, reference in pairs),
            ">= 1.5",
        )
        sizes = [measure(uri, rows, "ours") for rows in EXPORTS]
    draw(sizes)
    small, large = sizes[0], sizes[-1]
    yield Row(
        f"peak memory of {large.rows:,} rows, MB more than {small.rows:,}",
        f"{large.megabytes:.0f} MB",
        f"{small.megabytes:.0f} MB",
        large.megabytes - small.megabytes,
        "<= 16",
    )


def reading() -> Iterator[Row]:
    """Text files: reading and checking them, against the standard library's reader alone."""
    small, large = TEXTS
    for name, layout in LAYOUTS.items():
        with tempfile.TemporaryDirectory(prefix="wxbank-reading-") as folder:
            files = {rows: Path(folder) / f"{rows}.txt" for rows in TEXTS}
            for rows, path in files.items():
                write(path, layout, rows)
            pairs = [
                (measure_text(files[large], name, "ours", large), measure_text(files[large], name, "csv", large))
                for _ in range(TEXT_ROUNDS)
            ]
            mine, theirs = (median(seconds for seconds, _ in column) for column in zip(*pairs, strict=True))
            figure = median(own[0] / reference[0] for own, reference in pairs)
            yield Row(f"processor time, {layout.what}", f"{mine:.2f} s", f"{theirs:.2f} s", figure, "<= 1.1")
            least = measure_text(files[small], name, "ours", small)[1]
            most = max(megabytes for (_, megabytes), _ in pairs)
            yield Row(
                f"peak memory of {large:,} rows of it, MB more than {small:,}",
                f"{most:.0f} MB",
                f"{least:.0f} MB",
                most - least,
                "<= 16",
            )


@contextmanager
def simulator(*options: str) -> Iterator[Client]:
    """A client for a simulator in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "connection.json"
        command = [sys.executable, "-m", "airflow_provider_wxbank.simulator", "--port", "0", "--check", "later"]
        process = subprocess.Popen([*command, "--connection-file", str(file), *options], stdout=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 30
            while not file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.environ[CONNECTION] = file.read_text()
            connection = json.loads(os.environ[CONNECTION])
            client = Client(
                read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])
            )
            client.encryption_key()
            yield client
            client.close()
        finally:
            process.terminate()
            process.communicate(timeout=30)


def uploading() -> Row:
    """Many files with a slow server, against the time that the server alone takes."""
    ideal = FILES * LATENCY / WORKERS
    with simulator("--latency", str(LATENCY)) as client:
        key = client.encryption_key()
        content = PlainFile("bench", numbers(FILE_ROWS), key).encrypted()
        files = [
            OutgoingFile(f"bench-{index:04d}.csv", FILE_ROWS, "ICBC_DEBIT", key.serial_no, lambda: content)
            for index in range(FILES)
        ]
        outgoing = Outgoing("ICBC_DEBIT", [file.filename for file in files], FILES * FILE_ROWS, files)
        taken = seconds(lambda: Upload(client, PACKAGE, max_workers=WORKERS).run(outgoing))
    what = f"upload of {FILES} files, {LATENCY:g} s latency, {WORKERS} at a time"
    return Row(what, f"{taken:.2f} s", f"{ideal:.2f} s", taken / ideal, "<= 1.25")


def waiting() -> Row:
    """Calls while waiting for many tasks, against one a poll and one for twenty tasks."""
    with simulator("--processing-seconds", "30") as client:
        key = client.encryption_key()
        content = PlainFile("bench", numbers(1), key).encrypted()
        ids = [
            create_task(client, PACKAGE, content, "ICBC_DEBIT", f"bench-{index:04d}.csv", key.serial_no).task_id
            for index in range(TASKS)
        ]
        target = wanted(PACKAGE, ids)
        before = calls(client)
        polls, seen = 0, Poll(None)
        while seen.tasks is None:
            polls += 1
            seen = run(poll(client, target, seen.watched))
            time.sleep(30 / POLLS)
        assert count(seen.tasks).tasks == TASKS
        made = calls(client) - before
    allowed = polls + TASKS / 20 + 3
    return Row(f"calls while waiting for {TASKS} tasks", f"{made}", f"{allowed:.0f}", made / allowed, "<= 1")


def growing() -> Iterator[Row]:
    """Calls that questions about a package with a long history cost."""
    for one in questions():
        yield Row(one.what, f"{one.calls}", f"{one.bar}", float(one.calls), f"<= {one.bar}")
    bars: dict[KeyMode, int] = {"certificates": 3, "public-key": 2}
    for key_mode, bar in bars.items():
        made = calls_of_mapped_uploads(key_mode)
        yield Row(f"calls a task: mapped uploads of one file, {key_mode}", f"{made:.0f}", f"{bar}", made, f"<= {bar}")


def deferring() -> Iterator[Row]:
    """What many deferred waits take in one triggerer: to start, and for a poll a minute each."""
    with simulator("--processing-seconds", "3600") as client:
        key = client.encryption_key()
        content = PlainFile("bench", numbers(1), key).encrypted()
        for index in range(WAITS):
            create_task(client, str(FIRST_PACKAGE + index), content, "ICBC_DEBIT", "bench.csv", key.serial_no)
        printed = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.triggers", str(WAITS), str(WAIT_SECONDS)],
            env={**os.environ, "AIRFLOW_CONN_WXBANK_DEFAULT": os.environ[CONNECTION]},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    started, cpu, polls = json.loads(printed.splitlines()[-1])
    yield Row(f"start of {WAITS} deferred waits, seconds of CPU", f"{started:.1f} s", "", started, "<= 5")
    share = cpu / polls * WAITS / POLL_SECONDS
    yield Row(f"{WAITS} deferred waits, share of a core", f"{cpu / polls * 1000:.1f} ms/poll", "", share, "<= 0.1")


def failing() -> Iterator[Row]:
    """What the triggers of others feel while WeChat Pay fails; see :mod:`tests.benchmarks.outages`."""
    printed = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.outages"], check=True, capture_output=True, text=True
    ).stdout
    felt: dict[str, dict[str, float]] = json.loads(printed.splitlines()[-1])
    for kind, one in felt.items():
        more = (one["thread"] - one["alone"]) * 1000
        what = f"WeChat Pay {kind}: others wait for a thread, ms more"
        yield Row(what, f"{one['thread'] * 1000:.0f} ms", f"{one['alone'] * 1000:.0f} ms", more, "<= 50")
    worst = max(felt.values(), key=lambda one: one["held"])
    held, now = worst["held"] * 1000, worst["held_now"] * 1000
    yield Row("an outage: the loop is held, ms at full speed", f"{now:.0f} ms now", f"{held:.0f} ms", held, "<= 50")
    gone = max(one["cancelled"] for one in felt.values())
    yield Row("an outage: all cancelled waits are gone, s", f"{gone:.2f} s", "", gone, "<= 0.3")
    most = max(one["sockets"] for one in felt.values())
    yield Row("an outage: sockets of all waits", f"{most:.0f}", "", most, "<= 64")


def calls(client: Client) -> int:
    """Calls that the simulator has seen."""
    import requests

    report = requests.get(f"{client.settings.base_url}/simulator/report", timeout=60).json()
    return sum(report["requests"].values())


def importing() -> Row:
    """What importing the package and its info brings along."""
    code = (
        "import sys, airflow_provider_wxbank, airflow_provider_wxbank.get_provider_info as info; "
        "info.get_provider_info(); print(sum(m in sys.modules for m in ('airflow', 'requests', 'cryptography')))"
    )
    heavy = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    return Row("heavy imports of the package and its info", f"{heavy}", "0", float(heavy), "<= 0")


def main() -> int:
    """Print the table. Exit code: 0, whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--only-export", type=int, metavar="ROWS", help="export so many rows once, and nothing else")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.only_export:
        with database(options.only_export) as uri:
            one = measure(uri, options.only_export, "ours")
        print(f"{one.rows:,} rows in {one.seconds:.0f} s, {one.rows / one.seconds:,.0f} rows/s, {one.megabytes:.0f} MB")
        return 0
    print(f"{'what':<54} {'ours':>16} {'reference':>16} {'figure':>6} {'bar':>8}")
    rows = []
    for row in chain(
        encryption(),
        encryption_sm2(),
        exporting(),
        reading(),
        map(call, (uploading, waiting)),
        growing(),
        deferring(),
        failing(),
        map(call, (importing,)),
    ):
        rows.append(row)
        met = "" if row.is_met else "  NOT MET"
        print(f"{row.what:<54} {row.ours:>16} {row.reference:>16} {row.figure:>6.2f} {row.bar:>8}{met}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([{**asdict(row), "met": row.is_met} for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    end_with(main)
