# SPDX-License-Identifier: Apache-2.0
"""No plain number and no key is left anywhere by a run: logs, database, XComs, rendered templates, files, output.

OpenLineage is not searched: its provider is not installed here, and the operators say nothing to it of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Fault, Simulator, numbers_digest
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.airflow_home import airflow as command
from tests.harness.airflow_home import run, running
from tests.harness.ports import free_ports
from tests.harness.waiting import PATIENCE, until
from tests.system.conftest import active
from tests.vectors import VECTORS

NewAirflow = Callable[..., Any]

AIRFLOW_3 = version("apache-airflow").startswith("3.")

ROWS = 300
PIECE = 24
PEM = VECTORS["keys"]["merchant_private_pkcs8"]
KEY_BODY = "".join(PEM.strip().splitlines()[1:-1])
NUMBER = re.compile(rb"2024\d{14}")
LAYOUT = re.compile(rb"\\+[nr]|\s")
AIRFLOWS_OWN = re.compile(r".*Sending request.*MaskSecret\(.*")
"""What Airflow 3's stand-in for a supervisor, in ``dags test`` only, prints when it is asked to mask a secret."""


@dataclass(frozen=True)
class Secrets:
    """What must not be found."""

    apiv3_key: bytes
    key_pieces: frozenset[bytes] = frozenset(
        KEY_BODY[start : start + PIECE].encode() for start in range(0, len(KEY_BODY) - PIECE + 1, PIECE)
    )
    """Any 48 characters of the private key in a row hold one of these, however its lines are broken."""
    pin: bytes | None = None
    """Of the token that has the key."""

    def in_bytes(self, data: bytes) -> set[str]:
        """What is in some bytes."""
        found = set()
        if NUMBER.search(data):
            found.add("number")
        if self.apiv3_key in data:
            found.add("APIv3 key")
        if self.pin is not None and self.pin in data:
            found.add("PIN")
        flat = LAYOUT.sub(b"", data)
        if any(piece in flat for piece in self.key_pieces):
            found.add("private key")
        return found

    def in_files(self, folder: Path) -> Iterator[str]:
        """Where in the files under a folder, or in their names, one is."""
        for path in sorted(folder.rglob("*")):
            for what in sorted(self.in_bytes(str(path).encode())):
                yield f"{what} in the name of {path}"
            if path.is_file():
                for what in sorted(self.in_bytes(path.read_bytes())):
                    yield f"{what} in {path}"

    def in_database(self, path: Path) -> Iterator[str]:
        """Where in the tables of a database one is: in every column, compressed ones, too."""
        for table, column, value in database_values(path):
            for data in {value, *unpacked(value)}:
                for what in sorted(self.in_bytes(data)):
                    yield f"{what} in {table}.{column}"


def database_values(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Every value of every table, as bytes."""
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        database.text_factory = bytes
        for table in tables:
            cursor = database.execute(f'SELECT * FROM "{table}"')
            columns = [str(column[0]) for column in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    yield table, column, value if isinstance(value, bytes) else str(value).encode()


def unpacked(value: bytes) -> Iterator[bytes]:
    """A value that Airflow compressed."""
    with suppress(zlib.error):
        yield zlib.decompress(value)


def rows_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as database:
        count: int = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        return count


def impatient(text: str) -> str:
    """The sample DAG with retries that follow at once."""
    changed = text.replace("timedelta(minutes=5)", "timedelta(seconds=0.5)").replace('"retries": 3', '"retries": 1')
    changed = changed.replace('"retry_exponential_backoff": True', '"retry_exponential_backoff": False')
    assert changed.count("0.5") == 1
    return changed


@pytest.fixture
def without_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("without_umask")
def test_runs_that_fail_and_that_succeed_leave_no_number_and_no_key(
    new_simulator: NewSimulator, new_airflow: NewAirflow, tmp_path: Path
) -> None:
    simulator = new_simulator(processing_seconds=1.0)
    simulator.add_fault(Fault("redirect", on="upload", times=1))
    airflow = new_airflow(simulator, rows=ROWS)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    airflow.env.update(logging_environment(airflow.home), TMPDIR=str(temporary))
    airflow.add_dag("wxbank_export_and_import.py", impatient)
    out = tmp_path / "out"

    code, printed = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(out / "deep"))
    assert code == 0, printed[-5000:]
    assert "a redirect (302), which is not followed" in printed
    assert "1 tasks finished; 270 numbers matched" in printed
    assert simulator.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(active(ROWS))
    files = [path for path in out.rglob("*") if path.is_file()]
    # One list, its manifest, and the receipt.
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [out, *out.rglob("*")] if path.is_dir()} == {0o700}

    # The 200th row has a blank in it: the row is named, and the number is not. Airflow 3 writes the files of its
    # tasks' logs as JSON, tracebacks as structures; here it prints them so.
    airflow.env["AIRFLOW__LOGGING__JSON_LOGS"] = "True"
    bad = "SELECT CASE rowid WHEN 200 THEN agreement_no || ' 1' ELSE agreement_no END FROM users ORDER BY rowid"
    code, failed = airflow.test_dag("wxbank_export_and_import", sql=bad, output=str(out / "bad"))
    assert code != 0
    assert "row 200 has a blank in it" in failed
    assert not [path for path in (out / "bad").rglob("*") if path.is_file()]

    # A search of nothing finds nothing: what is searched must be there.
    database = airflow.home / "airflow.db"
    for table in ("xcom", "rendered_task_instance_fields", "dag_run", "task_instance", "log"):
        assert rows_of(database, table) > 0, table
    assert len(re.findall("debug", printed, re.IGNORECASE)) > 10
    assert not AIRFLOW_3 or '"exc_type": "InvalidInput"' in failed.replace('":"', '": "')
    secrets = Secrets(simulator.airflow_connection()["password"].encode())
    places = [
        *(f"{what} in what was printed" for what in secrets.in_bytes(AIRFLOWS_OWN.sub("", printed + failed).encode())),
        *secrets.in_database(database),
        *(place for folder in (airflow.home, out, temporary) for place in secrets.in_files(folder)),
    ]
    assert not places


@pytest.mark.skipif(
    os.environ.get("WXBANK_FULL") != "1" or not AIRFLOW_3,
    reason="WXBANK_FULL=1 starts a scheduler of Airflow 3, which takes a minute",
)
def test_runs_under_a_scheduler_leave_no_number_and_no_key(
    new_simulator: NewSimulator, new_airflow: NewAirflow, tmp_path: Path
) -> None:
    """As above, with the files of the tasks' logs and the triggerer's, which ``dags test`` does not write."""
    simulator = new_simulator(processing_seconds=3.0)
    simulator.add_fault(Fault("redirect", on="upload", times=1))
    airflow = new_airflow(simulator, rows=ROWS)
    airflow.env.update(
        **logging_environment(airflow.home),
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        **scheduler_environment(),
    )
    airflow.add_dag("wxbank_export_and_import.py", impatient)
    database = airflow.home / "airflow.db"
    bad = "SELECT agreement_no || ' ' FROM users ORDER BY 1"
    with (tmp_path / "standalone.log").open("w") as log, running(command("standalone"), airflow.env, log):
        assert airflow.command("dags", "reserialize")[0] == 0
        for number, sql in enumerate(("SELECT agreement_no FROM users WHERE active ORDER BY 1", bad)):
            params = {"package_id": PACKAGE, "sql": sql, "output": str(tmp_path / "out")}
            code, printed = airflow.command(
                "dags", "trigger", "wxbank_export_and_import", "--run-id", f"run_{number}", "--conf", json.dumps(params)
            )
            assert code == 0, printed
        until(lambda: not {None, "queued", "running"} & set(states(database).values()))
        assert states(database) == {"run_0": "success", "run_1": "failed"}
    assert simulator.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(active(ROWS))
    logs = [path for path in (airflow.home / "logs").rglob("attempt=*") if path.is_file()]
    assert len(logs) >= 5
    assert any("row 1 has a blank in it" in path.read_text("utf-8") for path in logs)
    assert any("a redirect (302), which is not followed" in path.read_text("utf-8") for path in logs)
    secrets = Secrets(simulator.airflow_connection()["password"].encode())
    assert not [
        *secrets.in_bytes((tmp_path / "standalone.log").read_bytes()),
        *secrets.in_database(database),
        *secrets.in_files(airflow.home),
        *secrets.in_files(tmp_path / "out"),
    ]


def logging_environment(home: Path) -> dict[str, str]:
    """Everything is logged, into this home: its configuration was made for the home that it is a copy of."""
    return {
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__SCHEDULER__CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "scheduler"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
    }


def scheduler_environment() -> dict[str, str]:
    """Ports of its own for everything that ``airflow standalone`` starts."""
    server, worker_log, trigger_log = map(str, free_ports(3))
    return {
        # It starts other commands by their name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": server,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{server}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": token_hex(64),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{server}/execution/",
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": server,
        "AIRFLOW__WEBSERVER__WORKERS": "1",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": worker_log,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_log,
    }


def states(database: Path) -> dict[str, str]:
    """The state of every DAG run."""
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
        return dict(connection.execute("SELECT run_id, state FROM dag_run"))


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        (numbers(1)[0], "number"),
        ("0123456789abcdef0123456789abcdef", "APIv3 key"),
        (PEM, "private key"),
        (PEM.splitlines()[7], "private key"),
        (json.dumps(json.dumps(PEM)), "private key"),
        ("\n".join(KEY_BODY[start : start + 50] for start in range(0, len(KEY_BODY), 50)), "private key"),
    ],
    ids=["number", "apiv3", "pem", "line", "escaped", "rewrapped"],
)
def test_the_search_finds_what_is_planted(migrated: Path, tmp_path: Path, planted: str, what: str) -> None:
    secrets = Secrets(b"0123456789abcdef0123456789abcdef")
    home = tmp_path / "home"
    shutil.copytree(migrated, home)
    database = home / "airflow.db"
    assert not [*secrets.in_database(database), *secrets.in_files(home)]

    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO log (dttm, event, extra) VALUES ('2026-11-23', 'x', ?)", [f"a {planted} b"])
        connection.execute("CREATE TABLE packed (data BLOB)")
        connection.execute("INSERT INTO packed VALUES (?)", [zlib.compress(planted.encode())])
    assert set(secrets.in_database(database)) == {f"{what} in log.extra", f"{what} in packed.data"}

    (home / "logs" / "deep").mkdir(parents=True, exist_ok=True)
    (home / "logs" / "deep" / "attempt=1.log").write_text(f'{{"event": "a {planted} b"}}')
    assert f"{what} in {home}/logs/deep/attempt=1.log" in list(secrets.in_files(home))


# Stores a connection, then prints what Airflow's API answers for it: Airflow's own serializer.
STORE_AND_SERIALIZE = """
import os
from airflow.models import Connection
from airflow.utils.session import create_session
with create_session() as session:
    session.add(Connection.from_json(os.environ["CONNECTION"], conn_id="wxbank_stored"))
with create_session() as session:
    connection = session.query(Connection).filter_by(conn_id="wxbank_stored").one()
    try:
        from airflow.api_fastapi.core_api.datamodels.connections import ConnectionResponse
    except ImportError:
        from airflow.api_connexion.schemas.connection_schema import connection_schema
        import json
        print("PAYLOAD", json.dumps(connection_schema.dump(connection)))
    else:
        print("PAYLOAD", ConnectionResponse.model_validate(connection).model_dump_json())
"""


def test_a_stored_connection_hides_its_secrets(simulator: Simulator, new_airflow: NewAirflow) -> None:
    airflow = new_airflow(simulator)
    connection = simulator.airflow_connection()
    connection["extra"]["proxies"] = "http://user:throwaway-password@proxy:3128"
    airflow.env["CONNECTION"] = json.dumps(connection)
    code, serialized = run([sys.executable, "-c", STORE_AND_SERIALIZE], airflow.env)
    assert code == 0, serialized
    (payload,) = re.findall(r"^PAYLOAD (.*)$", serialized, re.MULTILINE)
    answered = json.loads(payload)
    extra = json.loads(answered["extra"])
    assert answered["login"] == connection["login"]
    assert answered.get("password") in (None, "***")
    assert extra["merchant_private_key"] == extra["proxies"] == "***"
    assert extra["merchant_serial_no"] == connection["extra"]["merchant_serial_no"]
    secrets = Secrets(connection["password"].encode())
    assert not secrets.in_bytes(serialized.encode())
    # The metadata database has them encrypted.
    assert not [*secrets.in_database(airflow.home / "airflow.db"), *secrets.in_files(airflow.home)]
