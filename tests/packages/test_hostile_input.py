# SPDX-License-Identifier: Apache-2.0
"""What comes from outside may be anything: only the package's own errors come out, soon, and without quoting it.

``tests.stress.fuzz`` looks for inputs that prove this wrong, and saves them in ``crashes``; here they are tried again.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from base64 import b64encode, encodebytes
from binascii import b2a_base64
from itertools import count, repeat
from math import comb
from pathlib import Path
from typing import Any

import fsspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_wxbank.agreements import manifest as manifests
from airflow_provider_wxbank.agreements import seal
from airflow_provider_wxbank.agreements.files import AgreementFile
from airflow_provider_wxbank.agreements.lines import check_encrypted
from airflow_provider_wxbank.agreements.manifest import Manifest, read_manifest, to_bytes
from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.packages.endpoints import list_tasks
from airflow_provider_wxbank.wechatpay.calls import Answer, Call, SignedCall
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto import pem
from airflow_provider_wxbank.wechatpay.crypto.rsa import RSA, RsaPublicKey
from airflow_provider_wxbank.wechatpay.crypto.verification import verify
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput, TryLater, UnverifiedAnswer
from airflow_provider_wxbank.wechatpay.refusals import read_refusal
from tests.conftest import numbers
from tests.stress import fuzz_targets
from tests.stress.fuzz_targets import NAMING_KEY, TARGETS, naive_column, naive_lines, repeats, saved_inputs
from tests.vectors import VECTORS

pytestmark = pytest.mark.slow

KEYS = VECTORS["keys"]
CRASHES = Path(__file__).parents[1] / "stress" / "crashes"
INPUT_SECONDS = 60.0
"""Of this process alone, however busy the machine is: a defect takes minutes, or never ends."""


def in_file(path: Path, content: bytes, name: str = "users.csv") -> Location:
    (path / name).write_bytes(content)
    return Location(str(path / name), fsspec.filesystem("file"), str(path / name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.filterwarnings("ignore")  # the library's, of odd keys
@pytest.mark.parametrize("name", TARGETS)
def test_the_fuzzers_first_inputs_are_harmless(name: str) -> None:
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "path"), list(saved_inputs(CRASHES)), ids=lambda value: getattr(value, "name", None))
def test_an_input_that_was_a_defect_is_none_any_more(name: str, path: Path) -> None:
    started = time.process_time()
    TARGETS[name].run(path.read_bytes())
    assert time.process_time() - started < INPUT_SECONDS


# Keys


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_key_or_a_clear_error(text: str) -> None:
    fuzz_targets.fuzz_pem(text.encode("utf-8", "replace"))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["merchant_private_pkcs8", "merchant_private_pkcs1", "wechatpay_public_key"]),
    st.integers(0, 1700),
    st.integers(1, 40),
    st.text(max_size=4),
)
def test_a_damaged_key_is_told_without_quoting_it(name: str, start: int, length: int, inserted: str) -> None:
    damaged = KEYS[name][:start] + inserted + KEYS[name][start + length :]
    for load in (pem.load_private_key, pem.load_public_key):
        try:
            load(damaged, "key")
        except InvalidCredentials as failure:
            told = str(failure)
        else:
            continue
        assert not repeats(told, damaged)


def test_a_key_that_is_too_long_is_not_checked_for_hours() -> None:
    """The check of a key tests its primes; these are Mersenne's, so the check of this key would take minutes."""
    p, q, exponent = 2**9689 - 1, 2**9941 - 1, 65537
    secret = pow(exponent, -1, (p - 1) * (q - 1))
    values = (0, p * q, exponent, secret, p, q, secret % (p - 1), secret % (q - 1), pow(q, -1, p))
    body = encodebytes(_sequence(b"".join(map(_integer, values)))).decode()
    started = time.process_time()
    with pytest.raises(InvalidCredentials, match="longer than the longest key, an RSA key of 8192 bits"):
        pem.load_private_key(f"-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----\n", "key")
    assert time.process_time() - started < INPUT_SECONDS


@pytest.mark.parametrize(
    "text", ["\\", "-", "-----BEGIN ", "-----BEGIN A-----", "\u200b", "A: ", "-----BEGIN PRIVATE KEY-----\n", "%2D"]
)
def test_a_text_of_what_keys_are_looked_for_by_is_read_soon(text: str) -> None:
    started = time.monotonic()
    for load in (pem.load_private_key, pem.load_public_key):
        with pytest.raises(InvalidCredentials):
            load(text * (pem.MAX_PEM_CHARACTERS // len(text)), "key")
    assert time.monotonic() - started < INPUT_SECONDS


def _integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + _length(len(content)) + content


def _sequence(content: bytes) -> bytes:
    return b"\x30" + _length(len(content)) + content


def _length(length: int) -> bytes:
    if length < 128:
        return bytes([length])
    content = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(content)]) + content


# Answers


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud800\x1b\n"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {
        "serial_no": st.sampled_from([KEYS["platform_1_serial"], "0" + KEYS["platform_1_serial"]]) | JSON,
        "encrypt_certificate": st.fixed_dictionaries(
            {"algorithm": st.just("AEAD_AES_256_GCM") | JSON},
            optional={"nonce": st.just("abcdefghijkl") | JSON, "associated_data": st.just("certificate") | JSON},
        )
        | JSON,
    },
    optional={"effective_time": JSON | st.just("0001-01-01T00:00:00"), "expire_time": JSON | st.datetimes().map(str)},
)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(JSON | st.fixed_dictionaries({"data": JSON | st.lists(ENTRY, max_size=2)}), st.binary(max_size=50))
def test_any_certificate_list_is_read_or_refused(value: object, content: bytes) -> None:
    head = json.dumps(value).encode()
    fuzz_targets.fuzz_certificates(head)
    for sealed in (content, KEYS["platform_1_cert"].encode()):
        fuzz_targets.fuzz_sealed_certificates(head + b"\n\n" + sealed)


DETAIL = st.fixed_dictionaries({"field": JSON, "issue": JSON, "detail": JSON, "sign_information": JSON})
REFUSAL = st.fixed_dictionaries({"code": JSON, "message": JSON, "detail": JSON | DETAIL})


@settings(max_examples=200, deadline=None)
@given(JSON | REFUSAL, st.sampled_from([400, 401, 403, 429]))
def test_any_refusal_is_told_in_one_line(value: object, status: int) -> None:
    answer = Answer(status, {"Request-ID": "08\x1b[2J\n"}, json.dumps(value).encode())
    told = str(read_refusal(Call("GET", "/v3/x"), answer))
    assert told.isprintable()
    assert told.encode()
    fuzz_targets.fuzz_client(b"create\n%d signed\n\n" % status + answer.body)


def test_a_serial_that_would_forge_a_line_of_a_log_is_not_quoted() -> None:
    headers = {f"Wechatpay-{name}": "1" for name in ("Timestamp", "Nonce", "Signature")}
    for serial in ("1\x1b[2J", "1\n2026 INFO all is well", "", "序"):
        with pytest.raises(UnverifiedAnswer, match="no serial number"):
            verify({**headers, "Wechatpay-Serial": serial}, b"", lambda _: pytest.fail("asked for a key"), RSA, 1.0)


def test_a_list_that_ignores_the_offset_is_given_up() -> None:
    """An answer that is always the same page, of more tasks than it has, must not be asked for for ever."""
    task = VECTORS["responses"][0]["body"]
    body = f'{{"total_count":25,"data":[{task}]}}'.encode()
    client = _answering(b"200 signed\n\n" + body)
    with pytest.raises(TryLater, match="1 of 25 were seen"):
        list(list_tasks(client, "8473295"))


class _Same:
    """A transport that always gets the same answer, and stops a client that asks too often."""

    def __init__(self, answer: bytes) -> None:
        self._canned = fuzz_targets.Canned(repeat(answer))
        self._calls = count(1)

    def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        assert next(self._calls) < 1000
        return self._canned.exchange(base_url, signed)

    def close(self) -> None:
        """Nothing to close."""


def _answering(answer: bytes) -> Client:
    return fuzz_targets.client_over(_Same(answer))


# Files


LINES = st.lists(
    st.sampled_from([*numbers(3), "", " ", "号码1", "a,b", '"', "\t", "\ufeff1", "1\r", "x" * 300])
    | st.text(max_size=8),
    max_size=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES.map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200))
def test_a_text_file_is_its_lines_or_is_refused(folder: Path, content: bytes) -> None:
    read = fuzz_targets.read_all(in_file(folder, content), None)
    if isinstance(read, str):
        fuzz_targets.fuzz_text(content)
    else:
        assert read == naive_lines(content)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.from_regex(r"[0-9A-Z\-]{0,30}", fullmatch=True), min_size=1, max_size=300), st.booleans())
def test_a_text_file_of_numbers_is_never_refused(folder: Path, lines: list[str], ended: bool) -> None:
    lines[0] = "1"
    content = "\n".join(lines).encode() + (b"\n" if ended else b"")
    assert fuzz_targets.read_all(in_file(folder, content), None) == naive_lines(content)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.text('ab,"\n\t é号1', max_size=6), min_size=2, max_size=3), max_size=8),
    st.binary(max_size=12),
    st.integers(0, 60),
)
def test_a_csv_file_gives_its_column_or_is_refused(
    folder: Path, rows: list[list[str]], inserted: bytes, at: int
) -> None:
    quoted = ["id,agreement_no"] + [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in rows]
    whole = "\n".join(quoted).encode()
    for content in (whole, whole[:at] + inserted + whole[at:]):
        read = fuzz_targets.read_all(in_file(folder, content), "agreement_no")
        if not isinstance(read, str):
            assert [value for _, value in read] == naive_column(content, "agreement_no")
    if rows and all(len(row) == 2 for row in rows):
        read = fuzz_targets.read_all(in_file(folder, whole), "agreement_no")
        assert not isinstance(read, str)
        assert [value for _, value in read] == [row[1] for row in rows]


def test_a_csv_file_that_begins_with_an_empty_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"users\.csv line 1 is empty; the first line must be the header"):
        list(read_files(in_file(tmp_path, b"\nid,agreement_no\n1,2\n"), "agreement_no", Dialect()))


def test_a_csv_file_without_a_header_is_refused_without_quoting_its_first_row(tmp_path: Path) -> None:
    content = f"{numbers(1)[0]},Li Lei\n".encode()
    with pytest.raises(InvalidInput, match="has 2 columns, none of them named 'agreement_no'") as raised:
        list(read_files(in_file(tmp_path, content), "agreement_no", Dialect()))
    assert numbers(1)[0] not in str(raised.value)
    assert "Li Lei" not in str(raised.value)


# Encrypted files


KEY = RsaPublicKey.of(generate_private_key(65537, 2048).public_key())
NUMBER = b"202400000000000001"


def encrypted_lines(*blocks: bytes) -> bytes:
    """A file of right lines, and one more line of each block."""
    return KEY.encrypt_lines(numbers(5)) + b"".join(map(b2a_base64, blocks))


@pytest.mark.parametrize(
    "block",
    [
        NUMBER.ljust(256, b"\0"),
        NUMBER.rjust(256, b"\0"),
        NUMBER.ljust(256),
        NUMBER.rjust(256, b"0"),
        NUMBER.ljust(256, b"\xff"),
        b"\x00\x01" + b"\xff" * 200 + b"\x00" + NUMBER.rjust(53, b"0"),
        NUMBER + bytes([238]) * 238,
        NUMBER + random.Random(1).randbytes(238),
        random.Random(2).randbytes(200) + NUMBER + random.Random(3).randbytes(38),
        (NUMBER + b"|Zhang San|").ljust(256, b"-"),
        (NUMBER * 15)[:256],
        NUMBER.decode().encode("utf-16-le").ljust(256, b"\0"),
        ("张三，" * 40).encode()[:256],
        ("张三，上海市浦东新区 " * 40).encode("gb18030")[:256],
        hashlib.sha512(NUMBER).hexdigest().encode() * 2,
        b64encode(random.Random(4).randbytes(192)),
        bytes(range(100)) + bytes(156),
        bytes(256),
    ],
    ids=range(18),
)
def test_text_in_base64_is_not_taken_for_encrypted(block: bytes) -> None:
    assert len(block) == 256
    for content in (encrypted_lines(block), b2a_base64(block)):
        with pytest.raises(InvalidInput, match="line [16] is Base64 of text that is not encrypted") as raised:
            check_encrypted(content, "users.csv", RSA)
        assert "2024" not in str(raised.value)


def test_a_line_that_comes_twice_is_not_taken_for_encrypted() -> None:
    content = encrypted_lines()
    lines = content.splitlines(keepends=True)
    assert check_encrypted(content, "users.csv", RSA) == 5
    with pytest.raises(InvalidInput, match=r"users\.csv line 6 is the same as line 3"):
        check_encrypted(content + lines[2], "users.csv", RSA)
    with pytest.raises(InvalidInput, match="line 6 is the same as line 1"):
        check_encrypted(content + lines[0].rstrip(), "users.csv", RSA)


def test_what_is_random_is_never_taken_for_text() -> None:
    """The bounds in lines.py are computed; here random blocks of all sizes stand in for encrypted ones."""
    source = random.Random(5)
    for size in (256, 384, 512, 1024):
        blocks = {b2a_base64(source.randbytes(size), newline=True) for _ in range(1400)}
        assert check_encrypted(b"".join(blocks), "users.csv", RSA) == len(blocks)
    most = sum(comb(256, 100) * (100 / 256) ** 256 for _ in range(5500))
    digits = 1.5e6 * (10 / 256) ** 13
    assert most + digits < 1e-12


# Manifests


FILES = st.lists(
    st.builds(
        AgreementFile,
        filename=st.integers(0, 10**30).map(lambda number: f"june-{number:032x}.csv"),
        rows=st.integers(1, 5500),
        bytes=st.integers(1, 2_000_000),
        sha256=st.integers(0, 16**64 - 1).map(lambda digest: f"{digest:064x}"),
        serial_no=st.sampled_from([KEYS["platform_1_serial"], KEYS["wechatpay_public_key_id"]]),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda file: file.filename,
)


@settings(max_examples=60, deadline=None)
@given(
    FILES,
    st.dictionaries(st.text(max_size=20), st.lists(st.integers(1, 10**9), min_size=1, max_size=30), max_size=4),
    st.datetimes().map(lambda moment: moment.isoformat()),
)
def test_a_manifest_is_read_as_it_was_written(
    folder: Path, files: list[AgreementFile], skipped: dict[str, list[int]], created_at: str
) -> None:
    manifest = Manifest("ICBC_DEBIT", "june", created_at, tuple(files), skipped)
    where = in_file(folder, to_bytes(manifest, NAMING_KEY), "manifest.json")
    assert read_manifest(where, NAMING_KEY) == manifest
    assert manifest.skipped_count == sum(map(len, skipped.values()))


@settings(max_examples=60, deadline=None)
@given(FILES, st.integers(0, 10**6), st.integers(1, 255))
def test_a_manifest_with_one_byte_changed_is_refused(
    folder: Path, files: list[AgreementFile], position: int, change: int
) -> None:
    manifest = Manifest("ICBC_DEBIT", "june", "2026-11-23", tuple(files))
    content = bytearray(to_bytes(manifest, NAMING_KEY))
    content[position % len(content)] ^= change
    with pytest.raises(InvalidInput):
        read_manifest(in_file(folder, bytes(content), "manifest.json"), NAMING_KEY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hmac_sha256": "\ud800"},
        {"hmac_sha256": "é" * 64},
        {"version": 10**4000},
        {"version": [[]]},
        {"prefix": "\ud800"},
        {"version": 1, "rows": float("nan")},
    ],
)
def test_a_manifest_with_odd_values_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    content = json.dumps({"version": 1, "hmac_sha256": "0" * 64, **wrong}).encode()
    with pytest.raises(InvalidInput):
        read_manifest(in_file(tmp_path, content), NAMING_KEY)


def test_a_manifest_of_any_depth_is_refused(tmp_path: Path) -> None:
    """What the reader of JSON takes, its writer may not: each stops at a depth of its own."""
    for depth in range(850, 1000):
        nested = b"[" * depth + b"]" * depth
        for content in (b'{"version":1,"hmac_sha256":"0","x":%s}' % nested, b'{"version":%s}' % nested):
            with pytest.raises(InvalidInput):
                read_manifest(in_file(tmp_path, content), NAMING_KEY)


def test_a_manifest_that_is_signed_may_still_make_no_sense(tmp_path: Path) -> None:
    file = {"filename": "a.csv", "rows": 1, "bytes": 1, "sha256": "0" * 64, "serial_no": "1"}
    good: dict[str, Any] = {
        "version": manifests.VERSION, "origin": None, "bank_type": "ICBC_DEBIT", "prefix": "x", "created_at": "x",
        "files": [file], "skipped": {"positions": {}},
    }  # fmt: skip
    for wrong in (
        {"files": [{**file, "rows": "1"}]},
        {"files": [{**file, "rows": True, "filename": ["a.csv"]}]},
        {"files": [{**file, "more": 1}]},
        {"files": {"a.csv": 1}},
        {"files": [None]},
        {"skipped": "positions"},
        {"bank_type": ["ICBC"]},
    ):
        content: dict[str, Any] = {**good, **wrong}
        signed = seal.sealed("manifest", b'",' + json.dumps(content).encode()[1:], NAMING_KEY)
        with pytest.raises(InvalidInput, match="lacks something"):
            read_manifest(in_file(tmp_path, signed), NAMING_KEY)
