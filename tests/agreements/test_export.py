# SPDX-License-Identifier: Apache-2.0
"""Numbers become agreement files and a manifest; the manifest is read back checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_wxbank.agreements import manifest as manifests
from airflow_provider_wxbank.agreements.encryption import in_order
from airflow_provider_wxbank.agreements.export import export
from airflow_provider_wxbank.agreements.files import (
    batches,
    check_max_rows,
    check_prefix,
    named,
    plain_files,
    rows_that_fit,
    run_prefix,
)
from airflow_provider_wxbank.agreements.manifest import (
    Manifest,
    Origin,
    origin_in,
    read_file,
    read_manifest,
    split_identity,
    to_bytes,
)
from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.processes import FEW
from airflow_provider_wxbank.agreements.seal import identified, sealed
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.conftest import numbers
from tests.harness.keys import naming_key_of, new_key, public_key
from tests.harness.waiting import until

PRIVATE_KEY = new_key()
KEY = PlatformKey("5157F09E", public_key(PRIVATE_KEY))
NAMING_KEY = naming_key_of(PRIVATE_KEY)


def folder(path: Path) -> Location:
    return Location(str(path), fsspec.filesystem("file"), str(path))


def values(*rows: object) -> Iterable[Values]:
    yield Values("row", range(1, len(rows) + 1), rows)


def run(path: Path, *rows: object, **changes: Any) -> tuple[Location, Manifest]:
    options: dict[str, Any] = {
        "bank_type": "ICBC_DEBIT",
        "prefix": "june",
        "naming_key": NAMING_KEY,
        "encryption_key": lambda: KEY,
        "max_rows": 100,
        "on_invalid": "fail",
        **changes,
    }
    return export(options.pop("source", values(*rows)), folder(path), **options)


def decrypted(content: bytes, key: RSAPrivateKey = PRIVATE_KEY) -> list[str]:
    import base64

    lines = content.decode("ascii").splitlines(keepends=True)
    assert all(line.endswith("\n") for line in lines)
    return [key.decrypt(base64.b64decode(line), OAEP(MGF1(SHA1()), SHA1(), None)).decode() for line in lines]


def test_every_number_is_in_one_file_in_order_and_encrypted(tmp_path: Path) -> None:
    wanted = numbers(250)
    target, manifest = run(tmp_path / "out", *wanted)
    assert [file.rows for file in manifest.files] == [100, 100, 50]
    contents = [(tmp_path / "out" / file.filename).read_bytes() for file in manifest.files]
    assert [number for content in contents for number in decrypted(content)] == wanted
    for file, content in zip(manifest.files, contents, strict=True):
        assert file.bytes == len(content) == file.rows * 345
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.serial_no == KEY.serial_no
    assert target.uri == str(tmp_path / "out" / "manifest.json")
    assert read_manifest(target, NAMING_KEY) == manifest


def test_only_ciphertext_is_written_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run(tmp_path / "deep" / "out", *numbers(3))
    finally:
        os.umask(before)
    written = list((tmp_path / "deep" / "out").iterdir())
    assert len(written) == 2
    for file in written:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not [number for number in numbers(3) if number in file.read_text()]
    assert stat.S_IMODE((tmp_path / "deep" / "out").stat().st_mode) == 0o700


def test_the_same_numbers_make_the_same_filenames_and_others_do_not(tmp_path: Path) -> None:
    def filenames(name: str, *rows: object, **changes: Any) -> list[str]:
        return [file.filename for file in run(tmp_path / name, *rows, **changes)[1].files]

    first = filenames("a", *numbers(150))
    assert filenames("b", *numbers(150)) == first
    assert filenames("c", *numbers(150)[:-1])[0] == first[0]
    assert filenames("c", *numbers(150)[:-1])[1] != first[1]
    for changes in (
        {"prefix": "july"},
        {"bank_type": "ICBC_CREDIT"},
        {"naming_key": naming_key_of(new_key())},
    ):
        assert not set(filenames("d", *numbers(150), **changes)) & set(first)
    assert all(re.fullmatch(r"june-[0-9a-f]{32}\.csv", name) for name in first)


def test_a_file_that_comes_twice_is_written_once(tmp_path: Path) -> None:
    _, manifest = run(tmp_path, *numbers(100), *numbers(100), *numbers(7))
    assert [file.rows for file in manifest.files] == [100, 7]


def test_each_file_declares_the_key_that_encrypted_it(tmp_path: Path) -> None:
    other = new_key()
    keys = iter([KEY, PlatformKey("0A06", public_key(other)), KEY])
    _, manifest = run(tmp_path, *numbers(250), encryption_key=lambda: next(keys))
    assert [file.serial_no for file in manifest.files] == ["5157F09E", "0A06", "5157F09E"]
    found = [
        number
        for file in manifest.files
        for number in decrypted(
            (tmp_path / file.filename).read_bytes(), other if file.serial_no == "0A06" else PRIVATE_KEY
        )
    ]
    assert found == numbers(250)


def test_a_wrong_row_exports_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="row 251 is NULL"):
        run(tmp_path, *numbers(250), None, *numbers(5))
    assert list(tmp_path.iterdir()) == []


def test_skipped_rows_are_counted_and_kept_in_the_manifest(tmp_path: Path) -> None:
    target, manifest = run(tmp_path, "1", None, "3", " ", on_invalid="skip")
    content = json.loads(Path(target.path).read_text())
    assert content["skipped"] == {"count": 2, "positions": {"row": [2, 4]}}
    assert (manifest.rows, read_manifest(target, NAMING_KEY).skipped_count) == (2, 2)


def test_an_empty_result_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no number to export"):
        run(tmp_path)
    with pytest.raises(InvalidInput, match="2 rows were skipped"):
        run(tmp_path, None, "", on_invalid="skip")


def test_an_export_that_fails_withdraws_the_manifest_of_the_one_before(tmp_path: Path) -> None:
    run(tmp_path, *numbers(5))
    with pytest.raises(InvalidInput):
        run(tmp_path, "1", None)
    assert not (tmp_path / "manifest.json").exists()


def test_a_failing_source_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterable[Values]:
        yield Values("row", range(1, 201), numbers(200))
        raise ConnectionError("the database went away")

    with pytest.raises(ConnectionError):
        run(tmp_path, source=broken())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_take_a_file_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(InvalidInput, match="cannot be written: there is a file where a folder should be"):
        run(tmp_path / "out", *numbers(5))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


class _Unforgiving(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A place where agreement files can be written, but not removed."""

    def rm_file(self, path: str) -> None:
        if path.endswith(".csv"):
            raise PermissionError("removing is not allowed")
        super().rm_file(path)


def test_a_file_that_cannot_be_removed_does_not_hide_why_the_export_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Location(str(tmp_path), _Unforgiving(), str(tmp_path))
    with pytest.raises(InvalidInput, match="row 1 is NULL"):
        export(
            chain(values(*numbers(250)), values(None)), place, bank_type="ICBC_DEBIT", prefix="june",
            naming_key=NAMING_KEY, encryption_key=lambda: KEY, max_rows=100, on_invalid="fail",
        )  # fmt: skip
    assert caplog.text.count(".csv cannot be removed: permission was denied") == 2
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.slow
def test_a_longer_key_makes_fewer_rows_a_file() -> None:
    long = PlatformKey("1", public_key(new_key(4096)))
    rows = numbers(5500)
    assert rows_that_fit(KEY.public_key, rows) == 5500
    assert rows_that_fit(long.public_key, rows) == 2919
    assert rows_that_fit(long.public_key, rows[:7]) == 7
    assert [len(part) for _, part in batches([rows, rows], lambda: long, 5500)] == [2919, 2919, 2919, 2243]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 30))
def test_cutting_loses_nothing_and_keeps_the_order(chunks: list[int], max_rows: int) -> None:
    flat = numbers(sum(chunks))
    stream = iter(flat)
    cut = list(batches([[next(stream) for _ in range(size)] for size in chunks], lambda: KEY, max_rows))
    assert [number for _, batch in cut for number in batch] == flat
    assert all(len(batch) == max_rows for _, batch in cut[:-1])
    assert all(1 <= len(batch) <= max_rows for _, batch in cut)


@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_a_default_prefix_is_a_legal_one_whatever_the_dag_is_called(dag_id: str, run_id: str) -> None:
    prefix = run_prefix(dag_id, run_id)
    check_prefix(prefix)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{4,128}", named(prefix, NAMING_KEY, "ICBC_DEBIT", b"1"))
    assert prefix != run_prefix(dag_id, run_id + "x")


def test_a_wrong_prefix_or_row_count_is_refused() -> None:
    for prefix in ("", "a/b", "号码", "x" * 81):
        with pytest.raises(InvalidInput, match="prefix"):
            check_prefix(prefix)
    for rows in (0, 5501, "5500"):
        with pytest.raises(InvalidInput, match="max_rows_per_file"):
            check_max_rows(rows)  # type: ignore[arg-type]  # a templated value would be a text


def test_plain_numbers_do_not_show_when_a_file_is_printed() -> None:
    (file,) = plain_files([(KEY, numbers(3))], "june", NAMING_KEY, "ICBC_DEBIT")
    assert not [number for number in numbers(3) if number in repr(file)]


def manifest_text(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    return content


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    content = (path / "manifest.json").read_bytes()
    assert old in content
    (path / "manifest.json").write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "manifest.json").unlink(), "does not exist: is it on the disk of another machine"),
        (lambda path: os.truncate(path / "manifest.json", 200), "truncated"),
        (lambda path: (path / "manifest.json").write_text("[]"), "truncated"),
        (lambda path: (path / "manifest.json").write_text("[" * 100_000), "truncated"),
        (lambda path: (path / "manifest.json").write_bytes(b"\xff"), "truncated"),
        (lambda path: (path / "manifest.json").write_text('{\n "version": 1,'), "has version 1, not 3: run the export"),
        (lambda path: rewrite(path, b'"version": 3', b'"version": 2'), "has version 2, not 3: run the export again"),
        (lambda path: (path / "manifest.json").write_text('{"version": 3}'), "truncated"),
        (
            lambda path: (path / "manifest.json").write_text(
                json.dumps({**manifest_text(path), "bank_type": "ICBC_CREDIT"}, indent=1)
            ),
            "altered",
        ),
        (lambda path: (path / "manifest.json").write_bytes((path / "manifest.json").read_bytes() + b" "), "altered"),
    ],
)
def test_a_manifest_that_is_not_what_was_written_is_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    target, _ = run(tmp_path, *numbers(5))
    spoil(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        read_manifest(target, NAMING_KEY)


def test_a_manifest_of_another_merchant_is_refused(tmp_path: Path) -> None:
    target, _ = run(tmp_path, *numbers(5))
    with pytest.raises(InvalidInput, match="another merchant"):
        read_manifest(target, naming_key_of(new_key()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": []},
        {"files": [{"filename": "a.csv"}]},
        {"files": [{"filename": "../../x", "rows": 1, "bytes": 1, "sha256": "0" * 64, "serial_no": "1"}]},
        {"files": [{"filename": "a.csv", "rows": 0, "bytes": 1, "sha256": "0" * 64, "serial_no": "1"}]},
        {"files": [{"filename": "a.csv", "rows": 1, "bytes": 1, "sha256": "0" * 64, "serial_no": "1"}] * 2},
        {"files": [{"filename": "a.csv", "rows": True, "bytes": 1, "sha256": "0" * 64, "serial_no": "1"}]},
        {"files": [{"filename": "a.csv", "rows": 1.5, "bytes": 1, "sha256": "0" * 64, "serial_no": "1"}]},
        {"files": [{"filename": "a.csv", "rows": 1, "bytes": 1, "sha256": "0" * 64, "serial_no": None}]},
        {"bank_type": "icbc"},
        {"version": True},
        {"origin": "export"},
        {"origin": {"dag_id": "import", "run_id": "1", "task_id": "export", "map_index": "0"}},
        {"origin": {"dag_id": "import", "run_id": "1", "task_id": None, "map_index": -1}},
        {"origin": {"dag_id": "import"}},
        {"skipped": None},
        {"skipped": {"positions": []}},
        {"skipped": {"positions": {"row": 5}}},
        {"skipped": {"positions": {"row": ["5"]}}},
    ],
)
def test_a_manifest_must_make_sense_even_if_it_is_signed(tmp_path: Path, wrong: dict[str, Any]) -> None:
    target, _ = run(tmp_path, *numbers(5))
    content = {**manifest_text(tmp_path), **wrong}
    del content["hmac_sha256"]
    (tmp_path / "manifest.json").write_bytes(sealed("manifest", b'",' + json.dumps(content).encode()[1:], NAMING_KEY))
    with pytest.raises(InvalidInput, match="lacks something"):
        read_manifest(target, NAMING_KEY)


def test_a_manifest_that_is_not_our_own_is_not_parsed(tmp_path: Path) -> None:
    """64 MB of ``{}`` would become 1.7 GB of objects."""
    run(tmp_path, *numbers(5))
    path = tmp_path / "manifest.json"
    forged = b'{\n "hmac_sha256": "' + b"0" * 64 + b'", "x": [' + b"{}," * (manifests.MAX_MANIFEST_BYTES // 3 - 100)
    path.write_bytes(forged + b"{}]}")
    program = """
import resource, sys
import fsspec
from airflow_provider_wxbank.agreements.manifest import origin_in, read_manifest
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
where = Location(sys.argv[1], fsspec.filesystem("file"), sys.argv[1])
assert origin_in(where) is None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_manifest(where, b"k" * 32)
except InvalidInput as failure:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, failure)
"""
    told = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True).stdout
    megabytes, _, message = told.partition(" ")
    assert int(megabytes) < 4 * manifests.MAX_MANIFEST_BYTES / 1_000_000
    assert "altered after its export" in message


ORIGIN = Origin("import_users", "manual__1", "export_vip", -1)


@pytest.mark.parametrize(
    "other",
    [
        replace(ORIGIN, task_id="export_all"),
        replace(ORIGIN, map_index=0),
        replace(ORIGIN, task_id="group.export_vip"),
    ],
)
def test_another_task_of_the_run_does_not_replace_a_manifest(tmp_path: Path, other: Origin) -> None:
    target, first = run(tmp_path, *numbers(5), origin=ORIGIN)
    with pytest.raises(InvalidInput, match=r"manifest of task export_vip of run manual__1.*output_path of its own"):
        run(tmp_path, *numbers(7), origin=other)
    assert read_manifest(target, NAMING_KEY, first.identity) == first
    for file in first.files:
        read_file(target.parent, file)


@pytest.mark.parametrize(
    "other",
    [
        ORIGIN,  # a retry, or a cleared task
        replace(ORIGIN, run_id="manual__2"),
        replace(ORIGIN, dag_id="another_import"),
        None,  # the command line
    ],
)
def test_a_manifest_gives_way_to_its_own_task_and_to_other_runs(tmp_path: Path, other: Origin | None) -> None:
    target, first = run(tmp_path, *numbers(5), origin=ORIGIN)
    _, second = run(tmp_path, *numbers(7), origin=other)
    assert read_manifest(target, NAMING_KEY) == second
    with pytest.raises(InvalidInput, match="was replaced since its export told of it"):
        read_manifest(target, NAMING_KEY, first.identity)


def test_a_task_that_another_one_has_overtaken_does_not_replace_its_manifest(tmp_path: Path) -> None:
    other = replace(ORIGIN, task_id="export_all")

    def overtaken() -> Iterator[Values]:
        yield from values(*numbers(3))
        run(tmp_path, *numbers(7), origin=other)

    with pytest.raises(InvalidInput, match="manifest of task export_all"):
        run(tmp_path, source=overtaken(), origin=ORIGIN)
    assert read_manifest(folder(tmp_path).child("manifest.json"), NAMING_KEY).rows == 7


def test_the_manifest_of_another_merchant_is_not_replaced_in_one_run_either(tmp_path: Path) -> None:
    run(tmp_path, *numbers(5), origin=ORIGIN, naming_key=naming_key_of(new_key()))
    with pytest.raises(InvalidInput, match="manifest of task export_vip"):
        run(tmp_path, *numbers(7), origin=replace(ORIGIN, task_id="export_all"))


@pytest.mark.parametrize("name", ["a", "客户" * 120, '"\n\\"', "x" * 250])
def test_a_manifest_tells_its_task_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    origin = Origin(name, name, name, 3)
    target, _ = run(tmp_path, *numbers(5), origin=origin)
    assert origin_in(target) == origin == read_manifest(target, NAMING_KEY).origin


@pytest.mark.parametrize("digits", ["", "0" * 15, "0" * 17, "A" * 16, "0" * 16 + "#" + "0" * 16])
def test_an_identity_that_is_none_is_told(digits: str) -> None:
    with pytest.raises(InvalidInput, match="are not the 16 hexadecimal digits of an export's result"):
        split_identity(f"/export/manifest.json#{digits}")


def test_an_identity_is_taken_from_a_uri() -> None:
    assert split_identity("s3://lake@bank/a#b/manifest.json") == ("s3://lake@bank/a#b/manifest.json", None)
    uri = "/a#b/manifest.json"
    assert split_identity(identified(uri, "0123456789abcdef")) == (uri, "0123456789abcdef")


def test_a_manifest_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with path.open("wb") as file:
        file.truncate(manifests.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(InvalidInput, match="longer than"):
        read_manifest(folder(tmp_path).child("manifest.json"), NAMING_KEY)


def test_a_file_that_was_changed_or_lost_is_refused(tmp_path: Path) -> None:
    _, manifest = run(tmp_path, *numbers(5))
    (file,) = manifest.files
    content = (tmp_path / file.filename).read_bytes()
    assert read_file(folder(tmp_path), file) == content
    (tmp_path / file.filename).write_bytes(content[:-1] + b" ")
    with pytest.raises(InvalidInput, match="was changed after its export"):
        read_file(folder(tmp_path), file)
    (tmp_path / file.filename).unlink()
    with pytest.raises(InvalidInput, match="does not exist"):
        read_file(folder(tmp_path), file)


def test_a_manifest_tells_when_and_what_for(tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    _, manifest = run(tmp_path, *numbers(5), now=lambda: now)
    content = json.loads(to_bytes(manifest, NAMING_KEY))
    assert (content["created_at"], content["bank_type"], content["rows"], content["prefix"]) == (
        "2026-11-23T12:00:00+00:00",
        "ICBC_DEBIT",
        5,
        "june",
    )


def test_work_in_threads_keeps_its_order_and_is_not_taken_far_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterable[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_order(lambda item: item * 2, source(), workers=3)
    assert [next(results) for _ in range(5)] == [0, 2, 4, 6, 8]
    assert len(taken) <= 5 + 2 * 3
    results.close()


@pytest.mark.slow
def test_files_encrypted_in_processes_are_the_numbers_in_order(tmp_path: Path) -> None:
    rows = [f"2024{index:08d}" for index in range(6 * (FEW + 1))]
    _, manifest = run(tmp_path, *rows, max_rows=FEW + 1)
    assert len(manifest.files) == 6
    contents = [(tmp_path / file.filename).read_bytes() for file in manifest.files]
    assert [number for content in contents for number in decrypted(content)] == rows


def test_an_export_whose_encrypting_process_is_killed_fails_and_leaves_nothing(tmp_path: Path) -> None:
    def killing() -> Iterator[Values]:
        rows = [f"2024{index:08d}" for index in range(FEW + 1)]
        for part in range(100):
            yield Values("row", range(len(rows)), [f"{row}{part}" for row in rows])
            if part == 4:
                until(lambda: bool(children()))
                for child in children():
                    os.kill(child, signal.SIGKILL)

    with pytest.raises(TryLater, match="was killed"):
        run(tmp_path, source=killing(), max_rows=FEW + 1)
    assert list(tmp_path.iterdir()) == []
    assert children() == []


def test_a_trailer_that_is_known_only_at_the_end_leaves_nothing(tmp_path: Path) -> None:
    rows = [*numbers(250), "T0000000250"]
    with pytest.raises(InvalidInput, match=r"users.txt line 251 has letters"):
        run(tmp_path, source=[Values("users.txt line", range(1, 252), rows, may_begin=True, may_end=True)])
    assert list(tmp_path.iterdir()) == []


def test_an_encrypting_process_knows_no_secret_and_leaves_no_core_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this process, which has both."""
    monkeypatch.setenv("AIRFLOW_CONN_WXBANK_DEFAULT", "a private key")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "a password")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    before, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    seen: list[dict[str, str]] = []

    def has_no_core(child: int) -> bool:
        return re.fullmatch(r"Max core file size +0 +0 +bytes *", core_limit(child)) is not None

    def looking() -> Iterator[Values]:
        rows = [f"2024{index:08d}" for index in range(FEW + 1)]
        for part in range(20):
            yield Values("row", range(len(rows)), [f"{row}{part}" for row in rows])
            if any(tmp_path.iterdir()):  # a file is encrypted, so that its process is at work
                for child in children():
                    seen.append(environment(child))
                    # It is the first thing that a process does, before it is given a number.
                    until(partial(has_no_core, child), 60, "a process may leave a core file")

    try:
        run(tmp_path, source=looking(), max_rows=FEW + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (before, most))
    assert seen
    for variables in seen:
        assert (variables["LC_ALL"], variables["PATH"]) == ("C.UTF-8", os.environ["PATH"])
        assert not [name for name in variables if name.startswith(("AIRFLOW", "PYTEST", "HOME"))]
        assert "a private key" not in variables.values()


def environment(process: int) -> dict[str, str]:
    content = Path(f"/proc/{process}/environ").read_text()
    return dict(line.split("=", 1) for line in content.rstrip("\0").split("\0"))


def core_limit(process: int) -> str:
    return next(line for line in Path(f"/proc/{process}/limits").read_text().splitlines() if "core" in line)


def children() -> list[int]:
    command = ["pgrep", "-P", str(os.getpid()), "-f", "processes.serve"]
    return [int(line) for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()]
