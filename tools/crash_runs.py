"""Uploads and exports that are killed again and again, and what is there afterwards.

A run here is a process of its own that makes the operator and calls its ``execute``. It is forked from a process that
has imported Airflow and the operators already, as LocalExecutor forks a task's process, and ended with SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from airflow_provider_wxbank.agreements import manifest as manifests
from airflow_provider_wxbank.agreements.files import naming_key
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.simulator.app import App
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

BANK_TYPE = "ICBC_DEBIT"
DAG_ID = "crash"
WORKERS = 4
"""Uploads at a time."""

STEP = 16
"""A killed upload gets at most so many requests further than the files that it finds."""

TRY_SECONDS = 120.0
"""Seconds after which a run counts as hung."""

GRACE_SECONDS = 1.0
"""A request of a process that was killed may be read so long after its end."""

_FORK = multiprocessing.get_context("forkserver")


@dataclass(slots=True)
class Row:
    """A row of the table.

    :param runs: processes that were started for it.
    :param twice: files sent twice in full although they were not in flight at a kill.
    :param half: manifests that were believed and were not whole.
    :param wrong: what ended otherwise than it must.
    :param again: files sent again because they were in flight at a kill, which nobody can avoid.
    """

    what: str
    kills: int = 0
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    twice: int = 0
    half: int = 0
    hung: int = 0
    wrong: int = 0
    again: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_bad(self) -> bool:
        """Whether something happened that must not."""
        return bool(self.lost or self.doubled or self.twice or self.half or self.hung or self.wrong)

    def add_wrong(self, note: str) -> None:
        """Count what ended otherwise than it must."""
        self.wrong += 1
        self.notes.append(note)


@dataclass(slots=True)
class Seen:
    """A request that reached the simulator.

    :param filename: of an upload that was received in full.
    """

    began: float
    ended: float = float("inf")
    filename: str | None = None


class Watch:
    """What reaches a simulator and when, by package, and when what was killed."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self.kills: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def requests(self, package_id: str) -> int:
        """Requests for a package so far."""
        return len(self.seen[package_id])

    def taken(self, package_id: str) -> int:
        """Files that the package has."""
        return len(self.simulator.app.ledger.packages.get(package_id, {}))

    def kill(self, kill: Callable[[], None], package_id: str = "") -> None:
        """Kill with the time noted."""
        before = time.monotonic()
        kill()
        self.kills[package_id].append((before, time.monotonic()))

    def posts(self, package_id: str) -> int:
        """Uploads that were received in full."""
        return sum(one.filename is not None for one in self.seen[package_id])

    def sent_again(self, package_id: str) -> tuple[int, int]:
        """Of uploads after a file's first: those whose file was in flight at a kill, and the others.

        Each kill accounts for one upload of a file at most.
        """
        sent: dict[str, list[Seen]] = defaultdict(list)
        for one in self.seen[package_id]:
            if one.filename is not None:
                sent[one.filename].append(one)
        again = twice = 0
        for uploads in sent.values():
            in_flight = list(uploads)
            for before, after in self.kills[package_id]:
                met = [one for one in in_flight if one.began <= after + GRACE_SECONDS and one.ended >= before]
                if met:
                    in_flight.remove(met[0])
            accounted = min(len(uploads) - len(in_flight), len(uploads) - 1)
            again += accounted
            twice += len(uploads) - 1 - accounted
        return again, twice


@contextlib.contextmanager
def watched(simulator: Simulator) -> Iterator[Watch]:
    """Note what reaches a simulator; its methods are called as they are, with a note taken around them."""
    watch = Watch(simulator)
    current: ContextVar[Seen | None] = ContextVar("current", default=None)
    call, upload = App.__call__, App._upload

    async def noting_call(app: App, scope: Any, receive: Any, send: Any) -> None:
        parts = scope.get("path", "").split("/")
        if app is not simulator.app or "packages" not in parts:
            return await call(app, scope, receive, send)
        seen = Seen(time.monotonic())
        watch.seen[parts[parts.index("packages") + 1]].append(seen)
        current.set(seen)
        try:
            await call(app, scope, receive, send)
        finally:
            seen.ended = time.monotonic()

    async def noting_upload(app: App, request: Any, package_id: str, parts: Sequence[Any]) -> Mapping[str, Any]:
        if (seen := current.get()) is not None:
            with contextlib.suppress(StopIteration, ValueError, KeyError):
                seen.filename = json.loads(next(one.content for one in parts if one.name == "meta"))["filename"]
        return await upload(app, request, package_id, parts)

    with patch.object(App, "__call__", noting_call), patch.object(App, "_upload", noting_upload):
        yield watch


@dataclass(slots=True)
class Moment:
    """When to kill: some seconds after something is so far."""

    is_so_far: Callable[[], bool]
    seconds: float
    _due: float | None = None

    def has_come(self) -> bool:
        """Whether it is now or past."""
        if self._due is None and self.is_so_far():
            self._due = time.monotonic() + self.seconds
        return self._due is not None and time.monotonic() >= self._due


def upload_moment(watch: Watch, package_id: str, files: int, dice: random.Random) -> Moment:
    """A random moment of an upload that begins now, from before its first request to after its last."""
    before, taken = watch.requests(package_id), watch.taken(package_id)
    missing = files - taken
    requests = taken + min(WORKERS, missing) + missing
    wanted = min(dice.randint(0, taken + STEP), requests)
    return Moment(lambda: watch.requests(package_id) - before >= wanted, dice.uniform(0, 0.1))


def export_moment(folder: Path, files: int, dice: random.Random) -> Moment:
    """A random moment of an export that begins now; one of three is about when the manifest is written."""
    began = time.time_ns()
    wanted = files if dice.random() < 1 / 3 else dice.randint(0, files)

    def written() -> int:
        count = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    count += entry.name.endswith(".csv") and entry.stat().st_mtime_ns >= began
        return count

    return Moment(lambda: written() >= wanted, dice.uniform(0, 0.02))


class Bank:
    """A bank's database and the numbers in it."""

    def __init__(self, path: Path, rows: int) -> None:
        self.path = path
        self.numbers = [f"6225880137{index:08d}" for index in range(rows)]
        connection = sqlite3.connect(path)
        with contextlib.closing(connection), connection:
            connection.execute("CREATE TABLE users (agreement_no TEXT)")
            connection.executemany("INSERT INTO users VALUES (?)", [(number,) for number in self.numbers])

    def export(self, folder: Path, rows_per_file: int, prefix: str) -> dict[str, Any]:
        """The arguments of an ExportUsersOperator."""
        return {
            "sql": "SELECT agreement_no FROM users ORDER BY agreement_no",
            "sql_conn_id": "bank_db",
            "output_path": str(folder),
            "bank_type": BANK_TYPE,
            "max_rows_per_file": rows_per_file,
            "prefix": prefix,
        }


def upload(folder: Path, package_id: str) -> dict[str, Any]:
    """The arguments of an UploadTaskOperator."""
    return {"manifest": str(folder / manifests.NAME), "package_id": package_id, "max_workers": WORKERS}


def connections(simulator: Simulator, bank: Bank) -> dict[str, dict[str, Any]]:
    """The Airflow connections of a run."""
    return {
        "wxbank_default": simulator.airflow_connection(),
        "bank_db": {"conn_type": "sqlite", "host": str(bank.path)},
    }


Ended = tuple[str, Any]
"""``done`` and the result, ``failed`` and the message, ``died``, ``killed`` or ``hung``."""


class Runs:
    """Starts runs of the operators in processes; none is left when the block ends."""

    def __init__(self, log: Path, conns: Mapping[str, Mapping[str, Any]]) -> None:
        self._log = log
        self._variables = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in conns.items()}
        self.pids: list[int] = []
        _FORK.set_forkserver_preload(["airflow_provider_wxbank.operators", "tools.crash_runs"])

    def run(
        self,
        operator: str,
        arguments: Mapping[str, Any],
        moment: Moment | None = None,
        kill: Callable[[Callable[[], None]], None] = lambda kill: kill(),
    ) -> Ended:
        """Run an operator to its end, or until the moment to kill it has come.

        :param kill: calls what it is given, which kills.
        """
        pipe, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(
            target=execute, args=(operator, dict(arguments), self._variables, str(self._log), theirs), daemon=True
        )
        process.start()
        theirs.close()
        assert process.pid is not None
        self.pids.append(process.pid)

        def end() -> None:
            process.kill()
            process.join(TRY_SECONDS)

        deadline = time.monotonic() + TRY_SECONDS
        try:
            while time.monotonic() < deadline:
                if pipe.poll(0.001):
                    return self._received(pipe, process)
                if moment is not None and moment.has_come() and process.is_alive():
                    kill(end)
                    # What was sent before the kill came is how it ended.
                    return ("killed", None) if not pipe.poll(0) else self._received(pipe, process, "killed")
            return "hung", None
        finally:
            end()
            process.close()
            pipe.close()

    @staticmethod
    def _received(pipe: Connection, process: Any, otherwise: str = "died") -> Ended:
        try:
            ended: Ended = pipe.recv()
        except EOFError:
            return otherwise, None
        process.join(TRY_SECONDS)
        return ended

    @staticmethod
    def stop() -> None:
        """End the process that runs are forked from."""
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # it has no public end


def execute(operator: str, arguments: dict[str, Any], variables: Mapping[str, str], log: str, pipe: Connection) -> None:
    """What a task's process does: make the operator, and execute it."""
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ.update(variables)
    from airflow_provider_wxbank import operators
    from airflow_provider_wxbank.wechatpay.errors import WxBankError

    context: Any = {"ti": SimpleNamespace(dag_id=DAG_ID, run_id="manual")}
    try:
        result = getattr(operators, operator)(task_id="task", **arguments).execute(context)
    except WxBankError as failure:
        pipe.send(("failed", f"{type(failure).__name__}: {failure}"))
    else:
        pipe.send(("done", result))
    sys.stdout.flush()


def kill_uploads(row: Row, runs: Runs, watch: Watch, folder: Path, bank: Bank, kills: int, dice: random.Random) -> None:
    """Import the same export into one package after the other, killed until there were so many kills."""
    files = len(list(folder.glob("*.csv")))
    package = 80_000_000
    while row.kills < kills and not row.hung:
        package += 1
        package_id = str(package)
        ended: Ended = ("killed", None)
        while ended[0] == "killed":
            moment = upload_moment(watch, package_id, files, dice) if row.kills < kills else None
            before = len(watch.kills[package_id])
            ended = runs.run(
                "UploadTaskOperator",
                upload(folder, package_id),
                moment,
                lambda kill, package_id=package_id: watch.kill(kill, package_id),  # type: ignore[misc]
            )
            row.runs += 1
            row.kills += len(watch.kills[package_id]) - before
        note_end(row, f"package {package_id}", ended)
        if ended[0] == "done":
            check_result(row, watch, package_id, ended[1])
        check_package(row, watch, package_id, bank)


def note_end(row: Row, what: str, ended: Ended) -> None:
    """Count how a run ended that was not to be killed."""
    if ended[0] == "hung":
        row.hung += 1
    elif ended[0] != "done":
        row.add_wrong(f"{what} {ended[0]}: {ended[1]}")


def check_result(row: Row, watch: Watch, package_id: str, result: Mapping[str, Any]) -> None:
    """See that the result of an upload is what the package has."""
    told = {(task["task_id"], task["filename"], task["rows"]) for task in result["tasks"]}
    has = watch.simulator.app.ledger.packages.get(package_id, {}).values()
    if told != {(task.task_id, task.meta.filename, task.rows) for task in has}:
        row.add_wrong(f"the upload into {package_id} told other tasks than the package has")


def check_package(row: Row, watch: Watch, package_id: str, bank: Bank) -> None:
    """Count what a package lacks, or has or was sent more than once."""
    package = watch.simulator.report()["packages"].get(package_id)
    if package is None:
        row.lost += len(bank.numbers)
        return
    lost = len(bank.numbers) - package["distinct_numbers"]
    is_equal = package["numbers_digest"] == numbers_digest(bank.numbers)
    row.lost += max(lost, 0 if is_equal else 1)
    row.doubled += package["repeated_numbers"]
    names = Counter(task["filename"] for task in package["tasks"])
    row.doubled += sum(names.values()) - len(names)
    again, twice = watch.sent_again(package_id)
    row.again += again
    row.twice += twice


def merchant_key(simulator: Simulator) -> bytes:
    """The key of the filenames and manifests of a simulator's merchant."""
    pem = simulator.airflow_connection()["extra"]["merchant_private_key"]
    key = load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return naming_key(key)


def manifest_state(folder: Path, key: bytes, rows: int) -> str:
    """``none``, ``whole``; ``half`` if it is believed but what it lists is not there; ``torn`` if it is no manifest."""
    from airflow_provider_wxbank.locations import location

    where = location(str(folder / manifests.NAME), "manifest")
    try:
        manifest = manifests.read_manifest(where, key)
    except InvalidInput:
        return "torn" if where.exists() else "none"
    try:
        for file in manifest.files:
            manifests.read_file(where.parent, file)
    except InvalidInput:
        # The next try may have begun meanwhile.
        return "half" if where.exists() else "none"
    return "whole" if manifest.rows == rows else "half"


def check_killed_export(row: Row, folder: Path, key: bytes, rows: int) -> None:
    """See what a killed export left; a whole manifest means that it was killed after it was done."""
    state = manifest_state(folder, key, rows)
    row.half += state == "half"
    if state == "torn":
        row.add_wrong(f"a killed export left a torn manifest in {folder.name}")


def kill_exports(
    row: Row, runs: Runs, watch: Watch, bank: Bank, out: Path, rows_per_file: int, kills: int, dice: random.Random
) -> None:
    """Export into one folder after the other, killed until there were so many kills, and import each that ended."""
    files = -(-len(bank.numbers) // rows_per_file)
    key = merchant_key(watch.simulator)
    number = 0
    while row.kills < kills and not row.hung:
        number += 1
        folder = out / f"export-{number}"
        package_id = str(90_000_000 + number)
        arguments = bank.export(folder, rows_per_file, f"killed-{number}")
        ended: Ended = ("killed", None)
        here = 0
        while ended[0] == "killed":
            moment = export_moment(folder, files, dice) if row.kills < kills and here < 10 else None
            before = len(watch.kills[str(folder)])
            ended = runs.run("ExportUsersOperator", arguments, moment, lambda kill: watch.kill(kill, str(folder)))  # noqa: B023  # called at once
            row.runs += 1
            now = len(watch.kills[str(folder)]) - before
            row.kills += now
            here += now
            if ended[0] == "killed":
                check_killed_export(row, folder, key, len(bank.numbers))
        note_end(row, folder.name, ended)
        import_export(row, runs, watch, bank, folder, package_id)


def import_export(row: Row, runs: Runs, watch: Watch, bank: Bank, folder: Path, package_id: str) -> None:
    """Import an export that has ended, and compare."""
    if manifest_state(folder, merchant_key(watch.simulator), len(bank.numbers)) != "whole":
        row.add_wrong(f"{folder.name} ended and is not complete")
        return
    ended = runs.run("UploadTaskOperator", upload(folder, package_id))
    note_end(row, f"import of {folder.name}", ended)
    check_package(row, watch, package_id, bank)


def lose_disk(row: Row, runs: Runs, watch: Watch, bank: Bank, out: Path, rows_per_file: int) -> None:
    """Lose files between export and upload, then in the middle of an upload: an error, and nothing is sent."""
    dice = random.Random(4)
    for number, lost in enumerate(("folder", "one file", "folder, in the middle of the upload"), 1):
        folder, package_id = out / f"lost-{number}", str(70_000_000 + number)
        export = bank.export(folder, rows_per_file, f"lost-{number}")
        note_end(row, "export", runs.run("ExportUsersOperator", export))
        row.runs += 1
        if "middle" in lost:
            files = len(list(folder.glob("*.csv")))
            moment = Moment(lambda: watch.taken(package_id) >= files // 2, dice.uniform(0, 0.05))  # noqa: B023  # as above
            ended = runs.run(
                "UploadTaskOperator",
                upload(folder, package_id),
                moment,
                lambda kill: watch.kill(kill, package_id),  # noqa: B023  # as above
            )
            row.runs += 1
            row.kills += ended[0] == "killed"
            time.sleep(GRACE_SECONDS)
        if lost == "one file":
            max(folder.glob("*.csv")).unlink()
        else:
            shutil.rmtree(folder)
        before = watch.requests(package_id)
        ended = runs.run("UploadTaskOperator", upload(folder, package_id))
        row.runs += 1
        if ended[0] != "failed" or "does not exist: is it on the disk of another machine" not in str(ended[1]):
            row.add_wrong(f"{lost} lost: {ended}")
        if watch.requests(package_id) != before:
            row.add_wrong(f"{lost} lost: {watch.requests(package_id) - before} requests all the same")
        note_end(row, "export", runs.run("ExportUsersOperator", export))
        note_end(row, "upload", runs.run("UploadTaskOperator", upload(folder, package_id)))
        row.runs += 2
        check_package(row, watch, package_id, bank)
