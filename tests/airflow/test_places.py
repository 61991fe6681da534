# SPDX-License-Identifier: Apache-2.0
"""Where lists and exports may be: what a path or URL means, and what is told of one that leads nowhere."""

from __future__ import annotations

import errno
import os
import re
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.agreements.storage_errors import reading, told_of
from airflow_provider_wxbank.operators import UploadTaskOperator
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.airflow.conftest import context
from tests.airflow.test_export_operator import imported, operator
from tests.conftest import PACKAGE, numbers
from tests.harness.databases import NEEDS_SFTP
from tests.harness.ports import free_ports
from tests.harness.s3_server import READER

Connect = Callable[..., None]

NAMES = [
    "users?.csv", "users?", "a#b.csv", "a#", "a%20b%.csv", "a*.csv", "a[12].csv", "a&b+c=d.csv", "协议号 名单.csv",
    "a  b.csv", "a:b@c.csv",
]  # fmt: skip

PLACES = pytest.mark.parametrize("store", ["disk", "s3", pytest.param("sftp", marks=NEEDS_SFTP)])


@pytest.fixture(autouse=True)
def wxbank_default(simulator: Simulator, connect: Connect) -> None:
    connect(simulator)


@pytest.fixture
def root(store: str, request: pytest.FixtureRequest, airflow_connection: Connect, tmp_path: Path) -> str:
    """A folder of this test alone in a kind of storage."""
    if store == "disk":
        return str(tmp_path)
    airflow_connection("place", request.getfixturevalue(store))
    return f"sftp://place@{tmp_path}" if store == "sftp" else f"s3://place@bank/{tmp_path.name}"


@pytest.fixture
def put(store: str, root: str, tmp_path: Path) -> Callable[[str, list[str]], None]:
    """Puts a list there by its name, and not by a URL of ours."""

    def write(name: str, rows: list[str]) -> None:
        if store == "s3":
            location(root, "source").filesystem.pipe_file(f"bank/{tmp_path.name}/{name}", "\n".join(rows).encode())
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("\n".join(rows))

    return write


@contextmanager
def without_rights() -> Iterator[None]:
    """Without those of root, whom no file is closed to."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """An HTTP server that gives the same answer to everything; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_DELETE = do_GET  # noqa: N815  # names of http.server

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def with_extra(connection: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**connection, "extra": {**connection["extra"], **changes}}


@PLACES
@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_file_of_exactly_that_name(
    root: str, put: Callable[[str, list[str]], None], name: str, simulator: Simulator, store: str, tmp_path: Path
) -> None:
    # What would be read if a character of the name meant something.
    others = {re.split(r"[?#]", name)[0], name.replace("%20", " "), name.replace("*", "1"), re.sub("[?[].*", "1", name)}
    for index, other in enumerate(sorted(others - {name, ""})):
        put(f"in/{other}", numbers(2, 1000 * index + 1000))
    put(f"in/{name}", numbers(3))
    source, folder = f"{root}/in/{name}", f"{root}/{name}/out {name}"
    uri = operator(source=source, output_path=folder).execute(context())
    assert re.fullmatch(re.escape(f"{folder}/manifest.json#") + "[0-9a-f]{16}", uri)
    if store != "s3":
        assert (tmp_path / name / f"out {name}" / "manifest.json").is_file()
    assert imported(uri, simulator)["numbers_digest"] == numbers_digest(numbers(3))
    upload = UploadTaskOperator(task_id="u", package_id=PACKAGE, file=source, bank_type="ICBC_DEBIT")
    assert upload.execute(context())["rows"] == 3


@PLACES
def test_folders_may_end_with_a_slash_and_have_markers(
    root: str, put: Callable[[str, list[str]], None], store: str, simulator: Simulator
) -> None:
    base = f"{root}/in/"
    put("in/sub/a.txt", numbers(3))
    put("in/b.txt", numbers(3, 3))
    if store == "s3":
        where = location(base, "source")
        # As consoles make folders: objects of no bytes.
        for marker in ("", "sub/", "empty/"):
            where.filesystem.call_s3("put_object", Bucket="bank", Key=f"{where.path.partition('/')[2]}/{marker}")
    for source in (base, f"{base}*", f"{root}/i*/"):
        uri = operator(source=source, output_path=f"{root}/out/").execute(context())
        assert uri.startswith(f"{root}/out/manifest.json#")
        assert imported(uri, simulator)["numbers_digest"] == numbers_digest(numbers(6))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("abc://bank/x", "nothing here reads abc://. Is it a typing error"),
        ("s4://place@bank/x", "nothing here reads s4://. Is it a typing error"),
        ("gs://bank/x", "gs:// needs apache-airflow-providers-google gcsfs; install it"),
        ("abfs://bank/x", "abfs:// needs apache-airflow-providers-microsoft-azure adlfs; install it"),
        ("oss://bank/x", "Airflow has no filesystem for oss://; reach it by its S3 endpoint"),
        ("oss://no_such@bank/x", "Airflow has no filesystem for oss://; reach it by its S3 endpoint"),
        ("https://bank.example/x", "Airflow has no filesystem for https://; copy the file"),
        ("ftp://bank.example/x", "Airflow has no filesystem for ftp://; copy the file"),
        ("s3:/bank/x", "must be an absolute path or a URL"),
        ("s3://@bank/x", "has no connection before the @"),
        ("s3://place@/x", "names no bucket: write s3://conn_id@bucket/folder"),
        ("sftp://host/x", "names no connection: write sftp://conn_id@/folder/file"),
        ("file://bank/x", "must be an absolute path or a URL"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_with_what_to_do(
    s3: dict[str, Any], airflow_connection: Connect, tmp_path: Path, url: str, message: str
) -> None:
    airflow_connection("place", s3)
    for options in ({"source": url, "output_path": str(tmp_path)}, {"source": "/x", "output_path": url}):
        with pytest.raises(InvalidInput) as raised:
            operator(**options).execute(context())
        assert message in str(raised.value)
        assert url in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "sftp://user:v3ry-secret@host/in/users.csv",
        "s3://AKIA123:v3ry-secret@bank/users.csv",
        "https://bank.s3.amazonaws.com/users.csv?X-Amz-Credential=A&X-Amz-Signature=v3ry-secret",
        "https://bank.oss-cn-hangzhou.aliyuncs.com/users.csv?OSSAccessKeyId=v3ry-secret&Expires=1",
        "abfs://lists/users.csv?sv=2024&sig=v3ry-secret",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(tmp_path: Path, url: str, logged: Callable[[], str]) -> None:
    with pytest.raises(InvalidInput, match="put them into a connection|is a URL with a signature") as raised:
        operator(source=url, output_path=str(tmp_path)).execute(context())
    assert "v3ry-secret" not in str(raised.value) + logged()


@pytest.mark.parametrize(("scheme", "library"), [("s3", "s3fs"), ("sftp", "sshfs")])
def test_a_library_that_is_missing_is_named(
    airflow_connection: Connect, monkeypatch: pytest.MonkeyPatch, scheme: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    airflow_connection(f"no_{library}", {"conn_type": {"s3": "aws"}.get(scheme, scheme), "host": "host"})
    with pytest.raises(InvalidInput, match=rf"needs apache-airflow-providers-(amazon|sftp)\[{library}\]; install it"):
        location(f"{scheme}://no_{library}@{'bank' if scheme == 's3' else ''}/x", "source")


@pytest.mark.parametrize("url", ["s3://no_such@bank/x", "sftp://no_such@/x"])
def test_a_connection_that_does_not_exist_is_told_and_no_other_account_is_used(
    connections_of_airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, s3: dict[str, Any]
) -> None:
    # What the machine could read the bucket with.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3["login"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3["password"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["extra"]["endpoint_url"])
    for options in ({"source": url, "output_path": str(tmp_path)}, {"source": "/x", "output_path": url}):
        with pytest.raises(InvalidInput, match="Airflow has no connection no_such. Add or correct it"):
            operator(**options).execute(context())


def test_without_a_connection_the_accounts_of_the_machine_are_used(
    monkeypatch: pytest.MonkeyPatch, s3: dict[str, Any], airflow_connection: Connect
) -> None:
    airflow_connection("lake", s3)
    location("s3://lake@bank/own/a.txt", "source").write(b"1\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3["login"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3["password"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["extra"]["endpoint_url"])
    assert location("s3a://bank/own/a.txt", "source").read(10) == b"1\n"


@pytest.mark.parametrize(
    ("url", "conn_type"), [("s3://wrong@bank/x", "sftp"), ("sftp://wrong@/x", "postgres"), ("s3://wrong@b/x", "wxbank")]
)
def test_a_connection_of_another_kind_is_told(airflow_connection: Connect, url: str, conn_type: str) -> None:
    airflow_connection("wrong", {"conn_type": conn_type, "host": "127.0.0.1", "password": "v3ry-secret"})
    with pytest.raises(InvalidInput, match=f"the connection wrong is of type {conn_type}, and .* takes") as raised:
        location(url, "source")
    assert "v3ry-secret" not in str(raised.value)


def test_a_connection_that_cannot_be_read_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", '{"conn_type": "aws", "password": "v3ry-secret"')
    with pytest.raises(InvalidInput, match="connection broken, but cannot read it: its JSON breaks off") as raised:
        location("s3://broken@bank/x", "source")
    assert "v3ry-secret" not in str(raised.value)


def test_a_missing_bucket_is_told_before_anything_is_read(
    s3: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    # As S3 answers. SeaweedFS would make the bucket, or tell an account that may not that it may not.
    with answering(404, b"<Error><Code>NoSuchBucket</Code><BucketName>gone</BucketName></Error>") as address:
        airflow_connection("gone", with_extra(s3, endpoint_url=address))
        # That there is no source would be told next.
        with pytest.raises(InvalidInput, match=r"cannot be written: its bucket does not exist: .*\(.*NoSuchBucket"):
            operator(source="/x", output_path="s3://gone@gone/x").execute(context())
        for source in ("s3://gone@gone/x", "s3://gone@gone"):
            with pytest.raises(InvalidInput, match=f"{source} does not exist"):
                operator(source=source, output_path=str(tmp_path)).execute(context())


@pytest.mark.parametrize("changes", [{"login": READER}, {"login": "nobody-there"}, {"password": "another-v3ry-secret"}])
def test_what_an_account_may_not_do_is_told_before_anything_is_read(
    s3: dict[str, Any], airflow_connection: Connect, logged: Callable[[], str], changes: dict[str, str]
) -> None:
    conn_id = f"denied{len(str(changes))}"
    airflow_connection(conn_id, {**s3, **changes})
    with pytest.raises(InvalidInput, match="permission was denied: let the account") as raised:
        operator(source="/x", output_path=f"s3://{conn_id}@bank/denied").execute(context())
    assert "v3ry-secret" not in str(raised.value) + logged()
    if changes.get("login") != READER:
        with pytest.raises(InvalidInput, match="cannot be read: permission was denied"):
            location(f"s3://{conn_id}@bank/x*", "source").files()


def test_a_store_that_is_not_reached_is_asked_again_later(
    s3: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    extra = {"endpoint_url": f"http://127.0.0.1:{port}", "config_kwargs": {"retries": {"max_attempts": 0}}}
    airflow_connection("down", with_extra(s3, **extra))
    airflow_connection("sftp_down", {"conn_type": "sftp", "host": "127.0.0.1", "port": port, "login": "bank"})
    for url in ("s3://down@bank/x", "sftp://sftp_down@/x"):
        for options in ({"source": url, "output_path": str(tmp_path)}, {"source": "/x", "output_path": url}):
            with pytest.raises(TryLater, match="now: its place was not reached"):
                operator(**options).execute(context())


def test_a_store_that_is_too_busy_is_asked_again_later(s3: dict[str, Any], airflow_connection: Connect) -> None:
    body = b"<Error><Code>SlowDown</Code><Message>v3ry-secret</Message></Error>"
    with answering(503, body) as address:
        extra = {"endpoint_url": address, "config_kwargs": {"retries": {"max_attempts": 0}}}
        airflow_connection("busy", with_extra(s3, **extra))
        with pytest.raises(TryLater, match="could not be written now") as raised:
            operator(source="/x", output_path="s3://busy@bank/x").execute(context())
        with pytest.raises(TryLater, match="could not be read now"):
            location("s3://busy@bank/x", "source").files()
    assert "v3ry-secret" not in str(raised.value)


def test_settings_of_an_s3_endpoint_of_others_are_taken(s3: dict[str, Any], airflow_connection: Connect) -> None:
    """As OSS needs them, which takes no checksums after the content."""
    config = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    airflow_connection("like_oss", with_extra(s3, config_kwargs=config))
    where = location("s3://like_oss@bank/like-oss/a.txt", "source")
    where.write(b"1\n")
    assert where.read(10) == b"1\n"


def test_an_endpoint_that_is_no_url_is_told(s3: dict[str, Any], airflow_connection: Connect) -> None:
    airflow_connection("no_url", with_extra(s3, endpoint_url="127.0.0.1:9000"))
    with pytest.raises(InvalidInput, match="endpoint_url or settings are wrong"):
        location("s3://no_url@bank/x", "source").files()


def test_a_local_file_that_may_not_be_read_or_written_is_told(tmp_path: Path) -> None:
    source = tmp_path / "open" / "users.csv"
    closed = tmp_path / "open" / "closed"
    closed.mkdir(parents=True)
    for file in (source, closed / "more.csv"):
        file.write_text("1\n")
        file.chmod(0)
    closed.chmod(0)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o711)
    (tmp_path / "open").chmod(0o755)
    try:
        with without_rights():
            for place in (source, closed / "more.csv"):
                values = reading(str(place), read_files(location(str(place), "source"), None, Dialect()))
                with pytest.raises(InvalidInput, match="(users|more).csv cannot be read: permission was denied"):
                    next(values)
            for written in (tmp_path / "open", f"{tmp_path}/open/*", f"{tmp_path}/open/*/*"):
                with pytest.raises(InvalidInput, match="cannot be listed: permission was denied"):
                    location(str(written), "source").files()
            with pytest.raises(InvalidInput, match="cannot be written: permission was denied.*Permission denied"):
                location(str(closed / "out"), "output_path").check_writable()
    finally:
        closed.chmod(0o700)


def test_a_folder_that_holds_no_lists_need_not_be_readable(tmp_path: Path) -> None:
    for name in ("in/a.txt", "in/.snapshot/b.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    (tmp_path / "in" / ".snapshot").chmod(0)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o711)
    (tmp_path / "in").chmod(0o755)
    with without_rights():
        assert [file.name for file in location(str(tmp_path / "in"), "source").files()] == ["a.txt"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("\n".join(numbers(50)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Such as a quota, which refuses what goes beyond it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(TryLater, match="cannot be written: there is no room for it"):
            operator(source=str(tmp_path / "users.csv"), output_path=str(tmp_path / "out")).execute(context())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_may_be_full_in_several_ways(number: int) -> None:
    told = told_of(OSError(number, "v3ry-secret"), "/out/x", "written")
    assert isinstance(told, TryLater)
    assert "no room" in str(told)
    assert "v3ry-secret" not in str(told)
