"""Numbers become agreement files and a manifest; the manifest is read back checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
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
    naming_key,
    plain_files,
    rows_per_file,
    run_prefix,
)
from airflow_provider_wxbank.agreements.manifest import Manifest, read_file, read_manifest, to_bytes
from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.processes import FEW
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from airflow_provider_wxbank.wechatpay.keys import PlatformKey
from tests.conftest import numbers
from tools.waiting import until

pytestmark = pytest.mark.without_airflow

PRIVATE_KEY = generate_private_key(65537, 2048)
KEY = PlatformKey("5157F09E", PRIVATE_KEY.public_key())
NAMING_KEY = naming_key(PRIVATE_KEY)


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
        {"naming_key": naming_key(generate_private_key(65537, 2048))},
    ):
        assert not set(filenames("d", *numbers(150), **changes)) & set(first)
    assert all(re.fullmatch(r"june-[0-9a-f]{32}\.csv", name) for name in first)


def test_a_file_that_comes_twice_is_written_once(tmp_path: Path) -> None:
    _, manifest = run(tmp_path, *numbers(100), *numbers(100), *numbers(7))
    assert [file.rows for file in manifest.files] == [100, 7]


def test_each_file_declares_the_key_that_encrypted_it(tmp_path: Path) -> None:
    other = generate_private_key(65537, 2048)
    keys = iter([KEY, PlatformKey("0A06", other.public_key()), KEY])
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
    with pytest.raises(OSError):
        run(tmp_path / "out", *numbers(5))


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
    assert "could not be removed: removing is not allowed" in caplog.text
    assert not (tmp_path / "manifest.json").exists()


def test_a_longer_key_makes_fewer_rows_a_file() -> None:
    long = PlatformKey("1", generate_private_key(65537, 4096).public_key())
    assert rows_per_file(KEY, 5500) == 5500
    assert rows_per_file(long, 5500) == 2919
    assert rows_per_file(long, 7) == 7


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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "manifest.json").unlink(), "does not exist: is it on the disk of another machine"),
        (lambda path: os.truncate(path / "manifest.json", 200), "truncated"),
        (lambda path: (path / "manifest.json").write_text("[]"), "truncated"),
        (lambda path: (path / "manifest.json").write_text("[" * 100_000), "truncated"),
        (lambda path: (path / "manifest.json").write_bytes(b"\xff"), "truncated"),
        (lambda path: (path / "manifest.json").write_text('{"version": 2}'), "version 2"),
        (lambda path: (path / "manifest.json").write_text('{"version": 1}'), "altered"),
        (
            lambda path: (path / "manifest.json").write_text(
                json.dumps({**manifest_text(path), "bank_type": "ICBC_CREDIT"})
            ),
            "altered",
        ),
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
        read_manifest(target, naming_key(generate_private_key(65537, 2048)))


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
    content["hmac_sha256"] = manifests._digest(content, NAMING_KEY)
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInput):
        read_manifest(target, NAMING_KEY)


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


def children() -> list[int]:
    command = ["pgrep", "-P", str(os.getpid()), "-f", "processes.serve"]
    return [int(line) for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()]
