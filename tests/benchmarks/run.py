"""Speed as ratios taken in one run: ours against a reference, interleaved, medians. Nothing here passes or fails.

Usage: python -m tests.benchmarks.run [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from airflow_provider_wxbank.agreements.encryption import in_order
from airflow_provider_wxbank.agreements.files import PlainFile, batches, plain_files
from airflow_provider_wxbank.agreements.numbers import Skipped, Values, checked_numbers
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.keys import PlatformKey
from airflow_provider_wxbank.wechatpay.packages import create_task
from airflow_provider_wxbank.wechatpay.settings import read_settings
from airflow_provider_wxbank.wechatpay.uploads import OutgoingFile, Uploads
from airflow_provider_wxbank.wechatpay.waiting import Poll, count, poll, wanted

ROWS = 44_000
ROUNDS = 5
FILES, FILE_ROWS, WORKERS, LATENCY = 200, 500, 8, 0.2
TASKS, POLLS = 1000, 20
PACKAGE = "8473295"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    :param ratio: what the bar is about.
    :param bar: ``>= 0.9`` or ``<= 1.25``.
    """

    what: str
    ours: str
    reference: str
    ratio: float
    bar: str

    @property
    def is_met(self) -> bool:
        """Whether the figure reaches the bar."""
        sign, _, limit = self.bar.partition(" ")
        return self.ratio >= float(limit) if sign == ">=" else self.ratio <= float(limit)


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


def encrypt_ours(key: PlatformKey, rows: list[str], workers: int | None) -> None:
    """From values to the bytes of agreement files, as an export does it."""
    checked = checked_numbers([Values("row", range(1, len(rows) + 1), rows)], "fail", Skipped())
    files = plain_files(batches(checked, lambda: key, 5500), "bench", b"key", "ICBC_DEBIT")
    for _ in in_order(PlainFile.encrypted, files, workers):
        pass


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(what: str, ours: Callable[[], object], reference: Callable[[], object], bar: str) -> Row:
    """Rows a second, ours to the reference's, in turns."""
    pairs = [(seconds(ours), seconds(reference)) for _ in range(ROUNDS)]
    mine, theirs = (median(column) for column in zip(*pairs, strict=True))
    ratio = median(reference / own for own, reference in pairs)
    return Row(what, f"{ROWS / mine:,.0f} rows/s", f"{ROWS / theirs:,.0f} rows/s", ratio, bar)


def encryption() -> Iterator[Row]:
    """Encrypting and splitting, against the bare loop."""
    public = generate_private_key(65537, 2048).public_key()
    key, rows = PlatformKey("0A", public), numbers(ROWS)
    yield compare(
        "encrypt and split, one thread",
        lambda: encrypt_ours(key, rows, 1),
        lambda: encrypt_bare(public, rows),
        ">= 0.9",
    )
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with ProcessPoolExecutor(2) as pool:
        halves = [(pem, ROWS // 2)] * 2
        list(pool.map(encrypt_bare_pem, halves))
        yield compare(
            "encrypt and split, default settings",
            lambda: encrypt_ours(key, rows, None),
            lambda: list(pool.map(encrypt_bare_pem, halves)),
            ">= 0.9",
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
            connection = json.loads(file.read_text())
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
        taken = seconds(lambda: Uploads(client, PACKAGE, max_workers=WORKERS).run(files))
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
            seen = poll(client, target, seen.watched)
            time.sleep(30 / POLLS)
        assert count(seen.tasks).tasks == TASKS
        made = calls(client) - before
    allowed = polls + TASKS / 20 + 3
    return Row(f"calls while waiting for {TASKS} tasks", f"{made}", f"{allowed:.0f}", made / allowed, "<= 1")


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    print(f"{'what':<54} {'ours':>16} {'reference':>16} {'ratio':>6} {'bar':>8}")
    rows = []
    for row in (*encryption(), uploading(), waiting(), importing()):
        rows.append(row)
        met = "" if row.is_met else "  NOT MET"
        print(f"{row.what:<54} {row.ours:>16} {row.reference:>16} {row.ratio:>6.2f} {row.bar:>8}{met}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([{**asdict(row), "met": row.is_met} for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
