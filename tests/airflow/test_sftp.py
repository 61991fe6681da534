# SPDX-License-Identifier: Apache-2.0
"""Lists and exports on an SFTP server: an OpenSSH of this machine."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from airflow_provider_wxbank import places
from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.agreements.storage_errors import reading
from airflow_provider_wxbank.operators import UploadTaskOperator
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.airflow.conftest import context
from tests.airflow.test_export_operator import imported, manifest_of, operator
from tests.conftest import PACKAGE, numbers
from tests.harness.databases import NEEDS_SFTP
from tests.harness.sftp_server import sessions, sftp_server

pytestmark = NEEDS_SFTP

Connect = Callable[..., None]


@pytest.fixture(autouse=True)
def connections(simulator: Simulator, connect: Connect, sftp: dict[str, Any], airflow_connection: Connect) -> None:
    connect(simulator)
    airflow_connection("bank_sftp", sftp)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder of this test alone."""
    return f"sftp://bank_sftp@{tmp_path}"


def with_extra(connection: dict[str, Any], **changes: Any) -> dict[str, Any]:
    extra = {name: value for name, value in {**connection["extra"], **changes}.items() if value is not None}
    return {**connection, "extra": extra}


def log_of(connection: dict[str, Any]) -> str:
    return Path(connection["extra"]["key_file"]).with_name("log").read_text()


def values_of(source: str) -> list[str]:
    """The numbers of a source."""
    return [str(one) for values in read_files(location(source, "source"), None, Dialect()) for one in values.values]


def test_lists_are_exported_and_uploaded_over_sftp(tmp_path: Path, url: str, simulator: Simulator) -> None:
    wanted = numbers(6000)
    for name, part in (("dt=1/a.txt", wanted[:4000]), ("dt=2/a.txt", wanted[4000:]), ("dt=2/a.txt.ok", ["1"])):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("\n".join(part))
    for source in (f"{url}/in", f"{url}/in/dt=*", f"{url}/in/*/a*", f"{url}/in/dt=?/", f"{url}/in/**"):
        assert values_of(source) == wanted
    uri = operator(source=f"{url}/in", output_path=f"{url}/out/{{x}}/run:1+2").execute(context())
    assert uri.startswith(f"{url}/out/{{x}}/run:1+2/manifest.json#")
    assert [file.rows for file in manifest_of(uri).files] == [5500, 500]
    package = imported(uri, simulator)
    assert (package["numbers_digest"], package["lines"]) == (numbers_digest(wanted), len(wanted))
    # One plain file, which is encrypted in memory.
    single = UploadTaskOperator(task_id="u", package_id=PACKAGE, file=f"{url}/in/dt=1/a.txt", bank_type="ICBC_DEBIT")
    assert single.execute(context())["rows"] == 4000


def test_files_are_private_from_the_first_byte_on_and_appear_whole(
    tmp_path: Path, url: str, sftp: dict[str, Any]
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "users.txt").write_text("\n".join(numbers(10)))
    operator(source=f"{url}/users.txt", output_path=f"{url}/a/b").execute(context())
    made = sorted((tmp_path / "a").rglob("*"))
    assert {path.name.rpartition(".")[2] for path in made} == {"b", "csv", "json"}
    assert {oct(path.stat().st_mode) for path in made if path.is_file()} == {"0o100600"}
    assert {oct(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")} == {"0o40700"}
    # With which mode they were made, and that it was not changed afterwards.
    said = [line for line in log_of(sftp).splitlines() if str(tmp_path / "a") in line]
    opened = [line for line in said if re.match(r"open .*flags \S*WRITE", line)]
    assert len(opened) == 3
    assert all(re.search(r'/a/b/\.wxbank-\w+" flags WRITE,CREATE,EXCL mode 0600', line) for line in opened)
    assert len([line for line in said if re.match(r"mkdir .* mode 0700$", line)]) == 2
    assert not [line for line in said if re.match(r"f?set ", line)]


@pytest.mark.parametrize("root", ["{}", "sftp://bank_sftp@{}"], ids=["disk", "sftp"])
def test_a_failure_leaves_nothing(tmp_path: Path, root: str) -> None:
    base = root.format(tmp_path)
    (tmp_path / "users.txt").write_text("\n".join([*numbers(50), "bad row"]))
    with pytest.raises(InvalidInput, match="users.txt line 51"):
        operator(source=f"{base}/users.txt", output_path=f"{base}/out", max_rows_per_file=10).execute(context())
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "taken" / "by-others").mkdir(parents=True)
    with pytest.raises((InvalidInput, TryLater), match="out/taken (cannot|could not) be written"):
        location(f"{base}/out/taken", "output_path").write(b"x")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["taken"]


def test_a_server_without_extensions_replaces_files_too(tmp_path: Path, airflow_connection: Connect) -> None:
    with sftp_server(tmp_path / "server", "-P posix-rename,fsync") as connection:
        airflow_connection("bare", connection)
        where = location(f"sftp://bare@{tmp_path}/out/x", "output_path")
        for content in (b"one", b"two"):
            where.write(content)
            assert where.read(10) == content
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]


def test_a_server_that_takes_no_files_is_told_before_anything_is_read(
    tmp_path: Path, airflow_connection: Connect
) -> None:
    with sftp_server(tmp_path / "server", "-R") as connection:
        airflow_connection("read_only", connection)
        for folder in (tmp_path, tmp_path / "new"):
            with pytest.raises(InvalidInput, match="cannot be written: permission was denied.*SFTPPermissionDenied"):
                operator(source="/x", output_path=f"sftp://read_only@{folder}").execute(context())


def test_a_server_that_gives_no_files_is_told(tmp_path: Path, airflow_connection: Connect) -> None:
    (tmp_path / "users.txt").write_text("1\n")
    with sftp_server(tmp_path / "server", "-P open") as connection:
        airflow_connection("closed", connection)
        source = f"sftp://closed@{tmp_path}/users.txt"
        for task in (
            operator(source=source, output_path=str(tmp_path / "out")),
            UploadTaskOperator(task_id="u", package_id=PACKAGE, file=source, bank_type="ICBC_DEBIT"),
            UploadTaskOperator(task_id="u", package_id=PACKAGE, manifest=source),
        ):
            with pytest.raises(InvalidInput, match="users.txt cannot be read: permission was denied"):
                task.execute(context())


def test_a_server_is_known_by_its_key(
    tmp_path: Path, sftp: dict[str, Any], airflow_connection: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where asyncssh looks for known_hosts.
    monkeypatch.setenv("HOME", str(tmp_path))
    key = sftp["extra"]["host_key"]
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    host = f"[127.0.0.1]:{sftp['port']}"
    (tmp_path / "hosts").write_text(f"{host} {key}\n")
    trusted: list[dict[str, Any]] = [
        {"host_key": key},
        {"host_key": None, "known_hosts": str(tmp_path / "hosts")},
        {"host_key": None, "no_host_key_check": True},
        {"host_key": None, "no_host_key_check": "true"},
    ]
    for index, changes in enumerate(trusted):
        airflow_connection(f"known_{index}", with_extra(sftp, **changes))
        assert location(f"sftp://known_{index}@{tmp_path}/hosts", "source").exists()
    unknown: list[dict[str, Any]] = [{"host_key": other}, {"host_key": None}, {"host_key": other.split()[1]}]
    for index, changes in enumerate(unknown):
        airflow_connection(f"unknown_{index}", with_extra(sftp, **changes))
        with pytest.raises(InvalidInput, match="host_key of the connection's extra"):
            location(f"sftp://unknown_{index}@{tmp_path}/hosts", "source")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"{host} {key}\n")
    airflow_connection("known_now", with_extra(sftp, host_key=None))
    assert location(f"sftp://known_now@{tmp_path}/hosts", "source").exists()


def test_a_key_may_be_in_the_connection_and_have_a_passphrase(
    tmp_path: Path, sftp: dict[str, Any], airflow_connection: Connect, logged: Callable[[], str]
) -> None:
    key = asyncssh.read_private_key(sftp["extra"]["key_file"])
    plain = key.export_private_key().decode()
    locked = key.export_private_key("pkcs8-pem", passphrase="v3ry-secret").decode()
    (tmp_path / "locked").write_text(locked)
    good: list[dict[str, Any]] = [
        {"key_file": None, "private_key": plain},
        {"key_file": None, "private_key": locked, "private_key_passphrase": "v3ry-secret"},
        {"key_file": str(tmp_path / "locked"), "private_key_passphrase": "v3ry-secret"},
    ]
    for index, changes in enumerate(good):
        airflow_connection(f"key_{index}", with_extra(sftp, **changes))
        assert location(f"sftp://key_{index}@{tmp_path}/locked", "source").exists()
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    bad: list[tuple[dict[str, Any], str]] = [
        ({"key_file": None, "private_key": locked}, "the private key of the connection cannot be read"),
        ({"private_key": locked, "private_key_passphrase": "wrong-secret"}, "the private key of the connection"),
        ({"key_file": None, "private_key": "v3ry-secret"}, "the private key of the connection cannot be read"),
        ({"key_file": str(tmp_path / "none")}, "is its key_file on every worker"),
        ({"key_file": None, "private_key": other}, "permission was denied"),
    ]
    for index, (changes, message) in enumerate(bad):
        airflow_connection(f"no_key_{index}", with_extra(sftp, **changes))
        with pytest.raises(InvalidInput, match=message) as raised:
            location(f"sftp://no_key_{index}@{tmp_path}/locked", "source")
        assert not [secret for secret in ("secret", *locked.split()[4:]) if secret in str(raised.value)]
    assert not [line for line in (*plain.splitlines()[1:-1], "v3ry-secret") if line in logged()]


def test_a_folder_is_no_host(tmp_path: Path, sftp: dict[str, Any], airflow_connection: Connect) -> None:
    with pytest.raises(InvalidInput, match="A folder begins with a slash: sftp://bank_sftp@/folder/file"):
        location("sftp://bank_sftp@upload/users.csv", "source")
    for host in ("127.0.0.1", f"127.0.0.1:{sftp['port']}"):
        assert location(f"sftp://bank_sftp@{host}{tmp_path}", "source").exists()


def test_a_file_that_changes_or_goes_while_it_is_read_is_told(tmp_path: Path, url: str) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n".join(numbers(10)))
    values = read_files(location(url, "source"), None, Dialect())
    next(values)
    (tmp_path / "a.txt").write_text("\n".join(numbers(9)))
    with pytest.raises(TryLater, match="a.txt was changed or removed while it was read"):
        list(values)
    values = read_files(location(url, "source"), None, Dialect())
    next(values)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(TryLater, match="b.txt was changed or removed while it was read"):
        list(values)


def test_a_connection_that_breaks_is_tried_again_later(tmp_path: Path, airflow_connection: Connect) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n".join(numbers(10)))
    with sftp_server(tmp_path / "server") as connection:
        airflow_connection("breaking", connection)
        where = location(f"sftp://breaking@{tmp_path}/*.txt", "source")
        values = reading(where.uri, read_files(where, None, Dialect()))
        next(values)
        assert sessions(tmp_path / "server", signal.SIGKILL)
        with pytest.raises(TryLater, match=r"read now: its place was not reached"):
            list(values)
        with pytest.raises(TryLater, match="written now: its place was not reached"):
            where.parent.child("x").write(b"x")
        # In the same process, too, as dag.test() tries again.
        assert values_of(f"sftp://breaking@{tmp_path}/*.txt") == numbers(10) * 2


def test_a_server_that_hangs_is_not_waited_for(
    tmp_path: Path, airflow_connection: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_KEEPALIVE_SECONDS", 0.05)
    with sftp_server(tmp_path / "server") as connection:
        airflow_connection("hanging", connection)
        where = location(f"sftp://hanging@{tmp_path}/x", "source")
        assert not where.exists()
        assert sessions(tmp_path / "server", signal.SIGSTOP)
        with pytest.raises(TryLater, match="its place was not reached"):
            where.write(b"x")


@pytest.mark.parametrize("root", ["{}", "sftp://bank_sftp@{}"], ids=["disk", "sftp"])
def test_links_to_files_are_followed_and_links_to_folders_are_told(tmp_path: Path, root: str) -> None:
    base = root.format(tmp_path)
    for name in ("real/a.txt", "more/b.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    source = tmp_path / "in"
    source.mkdir()
    (source / "file.txt").symlink_to(tmp_path / "real" / "a.txt")
    assert values_of(f"{base}/in") == values_of(f"{base}/in/f*") == ["1"]
    assert [file.uri for file in location(f"{base}/in/*", "source").files()] == [f"{base}/in/file.txt"]
    (source / "folder").symlink_to(tmp_path / "more")
    assert values_of(f"{base}/in/*.txt") == values_of(f"{base}/in/folder") == values_of(f"{base}/i*/folder/*") == ["1"]
    for pattern in ("in", "in/*", "in/**", "in/*/*.txt", "**/b.txt"):
        with pytest.raises(InvalidInput, match="in/folder is no file, but a folder that a link leads to"):
            values_of(f"{base}/{pattern}")
    (source / "folder").rename(source / ".snapshot")
    assert values_of(f"{base}/in") == ["1"]


@pytest.mark.parametrize("root", ["{}", "sftp://bank_sftp@{}"], ids=["disk", "sftp"])
def test_what_is_no_file_is_told(tmp_path: Path, root: str) -> None:
    base = root.format(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for source in ("pipe", "p*"):
        with pytest.raises(InvalidInput, match="pipe is no file, but a folder, a pipe or a device"):
            values_of(f"{base}/{source}")
    for task in (
        UploadTaskOperator(task_id="u", package_id=PACKAGE, manifest=base),
        UploadTaskOperator(
            task_id="u", package_id=PACKAGE, file=f"{base}/pipe", bank_type="A", encrypted=True, serial_no="A1"
        ),
    ):
        with pytest.raises(InvalidInput, match="is no file, but a folder, a pipe or a device"):
            task.execute(context())
