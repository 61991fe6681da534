# SPDX-License-Identifier: Apache-2.0
"""Whom a list of certificates must come from: the pinned root, and no list older than the newest that was seen."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from airflow_provider_wxbank.packages.connection_check import in_one_message, walk
from airflow_provider_wxbank.packages.endpoints import create_task, list_tasks_page
from airflow_provider_wxbank.simulator import Fault, Simulator, names, platform
from airflow_provider_wxbank.simulator.platform import new_root, new_serial_no
from airflow_provider_wxbank.simulator.suites import SUITES
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.authorities import read_authorities
from airflow_provider_wxbank.wechatpay.crypto.refreshing import DOWNLOAD_PAUSE, REFRESH_AFTER
from airflow_provider_wxbank.wechatpay.crypto.rsa import RSA
from airflow_provider_wxbank.wechatpay.crypto.sm2 import SM2
from airflow_provider_wxbank.wechatpay.crypto.verification import Nonces
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, UnverifiedAnswer
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.settings import MAIN_HOST, Settings, read_settings
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.clock import Clock
from tests.harness.files import agreement_file
from tests.harness.openssl import needs_openssl
from tests.vectors import SHANGMI, VECTORS
from tests.wechatpay.conftest import downloads

BOTH_SUITES = pytest.mark.parametrize("suite", ["rsa", "sm2"])
ROOT = "wechatpay_root_certificate"
DAY = 86_400


@pytest.fixture
def suite(request: pytest.FixtureRequest) -> str:
    chosen: str = getattr(request, "param", "rsa")
    return chosen


@pytest.fixture
def pinned(new_simulator: NewSimulator, clock: Clock, suite: str) -> Simulator:
    return new_simulator(suite=suite, clock=clock, pin_root=True)


# The root


@pytest.mark.parametrize("suite", ["rsa", "sm2"], indirect=True)
def test_whoever_has_the_apiv3_key_alone_cannot_make_a_list(
    pinned: Simulator, new_client: NewClient, clock: Clock
) -> None:
    client, trusting = new_client(pinned, clock=clock), new_client(pinned, {ROOT: None}, clock=clock)
    pinned.add_fault(Fault("forged-certificates", on="certificates"))
    with pytest.raises(UnverifiedAnswer, match=r"is not signed by wechatpay_root_certificate \('Tenpay.com Root CA"):
        client.encryption_key()
    assert trusting.encryption_key().serial_no != pinned.platform.certificates[0].serial_no
    pinned.clear_faults()
    clock.now += DOWNLOAD_PAUSE + 1
    assert client.encryption_key().serial_no == pinned.platform.certificates[0].serial_no
    # The list at hand stays.
    pinned.add_fault(Fault("forged-certificates", on="certificates"))
    clock.now += REFRESH_AFTER + 1
    create_task(client, PACKAGE, *agreement_file(client, 0))
    assert pinned.report()["packages"][PACKAGE]["undecryptable"] == 0


@pytest.mark.parametrize("suite", ["rsa", "sm2"], indirect=True)
def test_a_rotation_under_the_same_root_needs_nobody(pinned: Simulator, new_client: NewClient, clock: Clock) -> None:
    client = new_client(pinned, clock=clock)
    old = client.encryption_key().serial_no
    new = pinned.rotate_certificate(overlap=False)
    clock.now += REFRESH_AFTER + 1
    assert old != client.encryption_key().serial_no == new
    assert list_tasks_page(client, PACKAGE).total_count == 0


@pytest.mark.parametrize("suite", ["rsa", "sm2"], indirect=True)
def test_the_root_may_come_with_others_and_from_a_file(
    pinned: Simulator, new_client: NewClient, tmp_path: Path, clock: Clock, suite: str
) -> None:
    another = new_root(SUITES[pinned.settings.suite], clock()).certificate
    (tmp_path / "roots.pem").write_text(f"# 根证书\n{another}\n{pinned.root_certificate}")
    for extra in (
        {ROOT: (another + pinned.root_certificate).replace("\n", "\\n")},
        {ROOT: None, f"{ROOT}_file": str(tmp_path / "roots.pem")},
    ):
        assert new_client(pinned, extra, clock=clock).encryption_key()
    with pytest.raises(UnverifiedAnswer, match="is not signed by"):
        new_client(pinned, {ROOT: another}, clock=clock).encryption_key()


def expired_root(simulator: Simulator) -> str:
    """The root as it was before it was renewed with the same key."""
    key, now = simulator.platform.root.key, simulator.settings.clock()
    return key.certify(key.public_der, names.ROOT, new_serial_no(), now - 4000 * DAY, now - DAY).decode()


@pytest.mark.parametrize("suite", ["rsa", "sm2"], indirect=True)
def test_a_root_that_was_renewed_is_the_same(pinned: Simulator, new_client: NewClient, clock: Clock) -> None:
    old = expired_root(pinned)
    assert new_client(pinned, {ROOT: old + pinned.root_certificate}, clock=clock).encryption_key()
    with pytest.raises(InvalidCredentials, match=r"'Tenpay.com Root CA \(simulator\)' is valid from"):
        new_client(pinned, {ROOT: old}, clock=clock).encryption_key()


LEAF, PEM_LINE = "is no root certificate, but one that signs no others", "1 line(s) or a part of one are missing"

INSTEAD: dict[str, tuple[Callable[[Simulator], str], str]] = {
    "expired": (expired_root, "is valid from 20"),
    "another root": (
        lambda _: new_root(SUITES["rsa"], time.time()).certificate,
        "is not signed by wechatpay_root_certificate ('Tenpay.com Root CA (simulator)')",
    ),
    "a platform certificate": (lambda one: one.platform.certificates[0].certificate.decode(), LEAF),
    "a root of SM2": (
        lambda _: new_root(SUITES["sm2"], time.time()).certificate,
        "is an SM2 key, and the merchant's private key is an RSA key",
    ),
    "a line is missing": (lambda one: without_line(one.root_certificate), PEM_LINE),
    "one of two is damaged": (
        lambda one: one.root_certificate + without_line(new_root(SUITES["rsa"], time.time()).certificate),
        PEM_LINE,
    ),
    "blanks for plus": (lambda one: one.root_certificate.replace("+", " "), 'its "+" have become blanks'),
    "a public key": (
        lambda _: VECTORS["keys"]["wechatpay_public_key"],
        "is a public key: take WeChat Pay's root certificate as PEM (BEGIN CERTIFICATE)",
    ),
    "a path": (lambda _: "/etc/wxbank/root.pem", "looks like a path"),
    "stars": (lambda _: "***", "is ***"),
    "DER": (lambda one: "".join(one.root_certificate.splitlines()[1:-1]), "is DER, or Base64 without"),
}


def without_line(text: str) -> str:
    lines = text.splitlines()
    return "\n".join([*lines[:5], *lines[6:]])


@pytest.mark.parametrize(("text", "message"), INSTEAD.values(), ids=INSTEAD)
def test_the_connection_test_says_what_stands_in_the_place_of_a_root(
    new_simulator: NewSimulator, text: Callable[[Simulator], str], message: str
) -> None:
    simulator = new_simulator(pin_root=True)
    connection = simulator.airflow_connection()
    extra = {**connection["extra"], ROOT: text(simulator)}
    works, told = in_one_message(walk(connection["login"], connection["password"], connection["host"], extra))
    assert not works
    assert message in told
    assert ROOT in told


def test_the_connection_test_says_which_root_has_signed(new_simulator: NewSimulator) -> None:
    connection = new_simulator(pin_root=True).airflow_connection()
    works, told = in_one_message(
        walk(connection["login"], connection["password"], connection["host"], connection["extra"])
    )
    assert works
    assert f"and signed by {ROOT} ('Tenpay.com Root CA (simulator)'): " in told


def test_the_connection_test_says_that_nothing_is_pinned(new_simulator: NewSimulator) -> None:
    connection = new_simulator().airflow_connection()
    _, told = in_one_message(walk(connection["login"], connection["password"], connection["host"], connection["extra"]))
    assert ". Any issuer will do: no root certificate is filled in" in told


def test_a_merchant_of_the_same_root_cannot_make_a_list(
    pinned: Simulator, new_client: NewClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WeChat Pay's root has signed the certificates of all merchants, too, who have the private keys of these."""
    monkeypatch.setattr(platform, "PLATFORM", "1900000002")
    pinned.rotate_certificate(overlap=False)
    with pytest.raises(UnverifiedAnswer, match="is a merchant's and not WeChat Pay's own"):
        new_client(pinned, clock=clock).encryption_key()
    assert new_client(pinned, {ROOT: None}, clock=clock).encryption_key()


def test_a_root_and_a_file_of_it_are_not_both_filled_in(pinned: Simulator, new_client: NewClient) -> None:
    with pytest.raises(InvalidCredentials, match=f"fill in {ROOT} or {ROOT}_file, not both"):
        new_client(pinned, {f"{ROOT}_file": "/etc/wxbank/root.pem"})


def settings(host: str | None = None, **extra: object) -> Settings:
    keys = VECTORS["keys"]
    fields = {"merchant_serial_no": keys["merchant_serial"], "merchant_private_key": keys["merchant_private_pkcs8"]}
    return read_settings("1900000001", "a" * 32, host, {**fields, **extra})


def test_of_wechat_pay_itself_the_root_is_known_and_of_others_none() -> None:
    known = settings().authorities
    assert known is not None
    ((root, _),) = known.certificates
    # As openssl x509 -fingerprint -sha256 has it of the one in WeChat Pay's CertTrustChain.p7b.
    assert root.fingerprint(SHA256()).hex().upper() == (
        "B29F8B2513EB2F7C49C07C7C20F4027CA903D071DF72CAA0B2B924EFF43A9452"
    )
    assert root.not_valid_after_utc == datetime(2032, 8, 9, 9, 15, 55, tzinfo=UTC)
    assert settings("https://api.mch.weixin.qq.com:443").authorities == known
    for point in ("api2", "apihk", "apius"):
        assert settings(f"https://{point}.mch.weixin.qq.com").authorities == known
    for other in ("wechatpay.bank.example", "api.mch.weixin.qq.com.bank.example", "evilmch.weixin.qq.com"):
        assert settings(f"https://{other}").authorities is None
    keys = SHANGMI["keys"]
    fields = {
        "merchant_serial_no": keys["merchant_serial"],
        "merchant_private_key": keys["merchant_private"],
        "naming_secret": "0123456789abcdef" * 2,
    }
    assert read_settings("1900000001", "a" * 32, MAIN_HOST, fields).authorities is None


COMPARE = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj "/O=Tenpay.com/CN=Tenpay.com User CA" -out other.pem
openssl crl2pkcs7 -nocrl -certfile other.pem -certfile known.pem -outform der -out CertTrustChain.p7b
"""


@needs_openssl
@pytest.mark.parametrize("language", ["", "zh/"])
def test_the_root_is_compared_as_the_documentation_says(tmp_path: Path, language: str) -> None:
    page = (Path(__file__).parents[2] / f"docs/{language}cryptography.md").read_text("utf-8")
    (block,) = (one for one in page.split("```") if "CertTrustChain.p7b -out" in one)
    commands = "\n".join(line[2:] for line in block.splitlines() if line.startswith("$ "))
    (tmp_path / "known.pem").write_text(RSA.root or "")
    command = ["bash", "-ec", COMPARE + commands]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == block.strip().splitlines()[-1] + "\n"


def test_what_is_filled_in_takes_the_place_of_what_is_known(clock: Clock) -> None:
    root = new_root(SUITES["rsa"], clock()).certificate
    one, same, other = settings(**{ROOT: root}), settings(**{ROOT: f"a comment\n{root}"}), settings()
    assert one.authorities is not None
    assert one.authorities.what == ROOT
    assert one.identity == same.identity != other.identity


# Certificates that OpenSSL has made


OPENSSL_CA = """
openssl ecparam -name SM2 -genkey -noout -out root.key
openssl req -new -x509 -sm3 -key root.key -subj "/CN=Root" -days 30 -sigopt distid:1234567812345678 -out root.pem
openssl ecparam -name SM2 -genkey -noout -out leaf.key
openssl req -new -sm3 -key leaf.key -subj "/CN=Tenpay.com sign" -sigopt distid:1234567812345678 -out leaf.csr
openssl x509 -req -sm3 -in leaf.csr -CA root.pem -CAkey root.key -set_serial 7 -days 10 \\
  -vfyopt distid:1234567812345678 -sigopt distid:1234567812345678 -out leaf.pem
"""


@needs_openssl
def test_certificates_of_openssl_are_verified_in_sm2(tmp_path: Path) -> None:
    subprocess.run(["bash", "-ec", OPENSSL_CA], cwd=tmp_path, check=True, capture_output=True)
    authorities = read_authorities((tmp_path / "root.pem").read_text(), ROOT, SM2)
    leaf = x509.load_pem_x509_certificate((tmp_path / "leaf.pem").read_bytes())
    authorities.check(leaf, time.time())
    # Of a changed one the signature is another's.
    text = leaf.public_bytes(Encoding.DER).replace(b"Tenpay.com sign", b"Tenpay.com sigm")
    with pytest.raises(UnverifiedAnswer, match="is not signed by"):
        authorities.check(x509.load_der_x509_certificate(text), time.time())


@needs_openssl
@BOTH_SUITES
def test_openssl_verifies_what_the_simulator_has_signed(
    new_simulator: NewSimulator, tmp_path: Path, suite: str
) -> None:
    simulator = new_simulator(suite=suite)
    (tmp_path / "root.pem").write_text(simulator.root_certificate)
    (tmp_path / "leaf.pem").write_bytes(simulator.platform.certificates[0].certificate)
    options = ["-vfyopt", "distid:1234567812345678"] if suite == "sm2" else []
    command = ["openssl", "verify", *options, "-CAfile", "root.pem", "leaf.pem"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.stdout == "leaf.pem: OK\n", done.stderr


# Older lists


@pytest.fixture
def new_process(certified: Simulator, clock: Clock) -> Callable[[], Client]:
    """A process of its own on a machine, with what is kept there, and no nonce."""
    connection = certified.airflow_connection()
    known = read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])
    return lambda: Client(known, clock=clock, sleep=lambda _: None, kept=kept_list(known), believed=Nonces())


@pytest.mark.parametrize("hours", [1, 30])
def test_a_withdrawn_certificate_signs_no_list_anew(
    certified: Simulator, new_process: Callable[[], Client], clock: Clock, hours: int
) -> None:
    """Not for who has seen a newer list, nor for the next process of this user, however long after."""
    client = new_process()
    serial = client.encryption_key().serial_no
    certified.add_fault(Fault("withdrawn-certificate", on="certificates"))
    clock.now += hours * 3600
    with pytest.raises(UnverifiedAnswer, match="WeChat Pay has withdrawn this certificate"):
        new_process().encryption_key()
    with pytest.raises(UnverifiedAnswer, match="which an earlier list no longer has"):
        client.refresh_keys()
    # The list at hand stays.
    assert client.encryption_key().serial_no == serial
    certified.clear_faults()
    clock.now += DOWNLOAD_PAUSE + 1
    assert new_process().encryption_key().serial_no == serial


def repeat_list(simulator: Simulator, recorded: Any) -> None:
    """Whoever stands in between gives an answer again that he has seen."""
    simulator.app.wire.recorded = recorded
    simulator.add_fault(Fault("replay", on="certificates"))


def test_an_older_list_is_not_taken_for_a_newer_one(
    certified: Simulator, new_process: Callable[[], Client], clock: Clock
) -> None:
    new_process().encryption_key()
    older = certified.app.wire.recorded
    clock.now += 60
    serial = certified.rotate_certificate()
    client = new_process()
    client.refresh_keys()
    repeat_list(certified, older)
    clock.now += 60
    for late in (client.refresh_keys, new_process().encryption_key):
        with pytest.raises(UnverifiedAnswer, match="was signed 60 s before one that came earlier"):
            late()
    assert client.encryption_key().serial_no == serial


def test_nor_after_the_clock_was_set_back(
    certified: Simulator, new_process: Callable[[], Client], clock: Clock
) -> None:
    client = new_process()
    client.refresh_keys()
    older = certified.app.wire.recorded
    clock.now += DAY
    client.refresh_keys()
    clock.now -= DAY
    repeat_list(certified, older)
    with pytest.raises(UnverifiedAnswer, match="was signed 86400 s before"):
        client.refresh_keys()


def test_a_list_of_the_same_second_is_none_older(
    certified: Simulator, new_process: Callable[[], Client], clock: Clock
) -> None:
    """Many tasks begin at once."""
    for count in range(1, 4):
        new_process().encryption_key()
        assert downloads(certified) == count


def test_the_newer_one_stays_kept(certified: Simulator, new_process: Callable[[], Client], clock: Clock) -> None:
    """A process whose download takes long keeps none that is older than what another one has kept meanwhile."""
    slow = new_process()
    list_tasks_page(slow, PACKAGE)
    older = certified.app.wire.recorded
    assert older is not None
    kept = kept_list(slow.settings)
    assert kept is not None
    clock.now += 60
    new_process().encryption_key()
    newer = kept.read()
    late = Client(slow.settings, clock=clock, kept=kept, believed=Nonces())
    repeat_list(certified, older)
    with pytest.raises(UnverifiedAnswer):
        late.encryption_key()
    assert kept.read() == newer


def test_a_list_from_the_future_locks_nobody_out(
    certified: Simulator, new_process: Callable[[], Client], clock: Clock
) -> None:
    """The clocks ran ahead when it was kept."""
    clock.now += DAY
    new_process().encryption_key()
    clock.now -= DAY
    assert new_process().encryption_key()


def test_two_rotations_that_nobody_saw_do_no_harm(
    certified: Simulator, new_process: Callable[[], Client], clock: Clock
) -> None:
    client = new_process()
    client.encryption_key()
    clock.now += 40 * DAY
    certified.rotate_certificate(overlap=False)
    clock.now += 40 * DAY
    serial = certified.rotate_certificate(overlap=False)
    assert client.encryption_key().serial_no == serial
    assert new_process().encryption_key().serial_no == serial
