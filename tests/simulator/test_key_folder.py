# SPDX-License-Identifier: Apache-2.0
"""A simulator whose keys are kept in a folder, and one that speaks https: for any SDK, and from start to start."""

from __future__ import annotations

import json
import ssl
import stat
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import NameOID

from airflow_provider_wxbank.packages.endpoints import create_task, list_tasks_page
from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, serve
from airflow_provider_wxbank.simulator.settings import SuiteName
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.conftest import PACKAGE
from tests.harness.files import agreement_file

BOTH_SUITES = pytest.mark.parametrize("suite", ["rsa", "sm2"])


def client_of(simulator: Simulator) -> Client:
    connection = simulator.airflow_connection()
    return Client(read_settings(*(connection[name] for name in ("login", "password", "host", "extra"))))


@BOTH_SUITES
def test_the_next_start_has_the_same_merchant_and_the_same_keys_of_wechat_pay(tmp_path: Path, suite: SuiteName) -> None:
    settings = SimulatorSettings(keys=tmp_path / "keys", key_mode="both", suite=suite, processing_seconds=0.0)
    with serve(settings) as first:
        name, content, *rest = agreement_file(client_of(first), 3)
        first.rotate_certificate()
        before = first.airflow_connection()
        serials = [key.serial_no for key in first.platform.certificates]
    with serve(settings) as second:
        assert second.airflow_connection() == {**before, "host": second.base_url}
        assert [key.serial_no for key in second.platform.certificates] == serials
        # What was encrypted before the restart decrypts.
        create_task(client_of(second), PACKAGE, name, content, *rest)
        assert second.report()["packages"][PACKAGE]["tasks"][0]["rows"] == 2


@BOTH_SUITES
def test_the_files_are_those_that_a_merchant_has(tmp_path: Path, suite: SuiteName) -> None:
    with serve(SimulatorSettings(keys=tmp_path / "keys", suite=suite, mchid="1900000109")) as simulator:
        simulator.rotate_certificate(overlap=False)
        listed = {f"wechatpay_{key.serial_no}.pem" for key in simulator.platform.certificates}
    files = {path.name: path for path in (tmp_path / "keys").iterdir()}
    assert {name for name in files if name.startswith("wechatpay_")} == listed
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    texts = {name: path.read_text() for name, path in files.items()}
    certificate = x509.load_pem_x509_certificate(texts["apiclient_cert.pem"].encode())
    assert f"{certificate.serial_number:X}" == texts["merchant_serial_no.txt"]
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == texts["mchid.txt"] == "1900000109"
    # An APIv3 key in every mode: other SDKs ask for one.
    assert len(texts["apiv3_key.txt"]) == 32
    assert texts["pub_key_id.txt"].startswith("PUB_KEY_ID_")
    if suite == "rsa":
        root = x509.load_pem_x509_certificate(texts["root.pem"].encode())
        for each in ("apiclient_cert.pem", *listed):
            x509.load_pem_x509_certificate(texts[each].encode()).verify_directly_issued_by(root)
        assert certificate.public_key() == load_pem_private_key(texts["apiclient_key.pem"].encode(), None).public_key()
        load_pem_public_key(texts["pub_key.pem"].encode())


def test_a_folder_of_another_suite_is_refused(tmp_path: Path) -> None:
    with serve(SimulatorSettings(keys=tmp_path)):
        pass
    with pytest.raises(ValueError, match="has keys of the suite rsa, not sm2: use another folder"):  # noqa: SIM117
        with serve(SimulatorSettings(keys=tmp_path, suite="sm2")):
            pass


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"suite": "rsa"}', '{"suite": "rsa", "merchant": [1, 2, 3]}'])
def test_a_folder_that_is_damaged_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "simulator.json").write_text(content)
    with pytest.raises(ValueError, match=r"simulator\.json (is damaged|has keys of the suite None)"):  # noqa: SIM117
        with serve(SimulatorSettings(keys=tmp_path)):
            pass
    assert (tmp_path / "simulator.json").read_text() == content


def test_our_client_speaks_https_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(SimulatorSettings(keys=tmp_path, tls=True, processing_seconds=0.0)) as simulator:
        assert simulator.base_url.startswith("https://127.0.0.1:")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls_ca.pem"))
        client = client_of(simulator)
        create_task(client, PACKAGE, *agreement_file(client, 2))
        assert list_tasks_page(client, PACKAGE).total_count == 1


def report(simulator: Simulator, ca: Path, name: str, host: str, **headers: str) -> int:
    """The status of the report, asked for over TLS as a server of that name."""
    context = ssl.create_default_context(cafile=str(ca))
    address = urlsplit(simulator.base_url)

    class Named(HTTPSConnection):
        def connect(self) -> None:
            super(HTTPSConnection, self).connect()
            self.sock = context.wrap_socket(self.sock, server_hostname=name)

    connection = Named("127.0.0.1", address.port, context=context, timeout=30)
    try:
        connection.request("GET", "/simulator/report", headers={"Host": f"{host}:{address.port}", **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_answers_as_wechat_pay_and_as_this_machine_and_as_nobody_else(tmp_path: Path) -> None:
    with serve(SimulatorSettings(keys=tmp_path, tls=True)) as simulator:
        ca = tmp_path / "tls_ca.pem"
        for name in ("api.mch.weixin.qq.com", "api2.mch.weixin.qq.com", "localhost", "127.0.0.1"):
            assert report(simulator, ca, name, name) == 200
        assert report(simulator, ca, "localhost", "api.example.com") == 403
        own = f"https://localhost:{urlsplit(simulator.base_url).port}"
        assert report(simulator, ca, "localhost", "localhost", Origin=own) == 200
        assert report(simulator, ca, "localhost", "localhost", Origin="https://page.example") == 403
        assert report(simulator, ca, "localhost", "localhost", Origin="null") == 403
        with pytest.raises(ssl.SSLCertVerificationError):
            report(simulator, ca, "api.example.com", "localhost")


def test_a_client_trusts_the_ca_once(tmp_path: Path) -> None:
    settings = SimulatorSettings(keys=tmp_path, tls=True)
    with serve(settings):
        ca = (tmp_path / "tls_ca.pem").read_bytes()
    (tmp_path / "trusted.pem").write_bytes(ca)
    with serve(settings) as again:
        assert report(again, tmp_path / "trusted.pem", "localhost", "localhost") == 200


def test_https_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="--tls needs --keys"), serve(SimulatorSettings(tls=True)):
        pass


def test_a_ca_that_does_not_fit_its_key_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path / "one", tmp_path / "other"):
        with serve(SimulatorSettings(keys=folder, tls=True)):
            pass
    (tmp_path / "other" / "tls_ca_key.pem").replace(tmp_path / "one" / "tls_ca_key.pem")
    with pytest.raises(ValueError, match="do not belong together"):  # noqa: SIM117
        with serve(SimulatorSettings(keys=tmp_path / "one", tls=True)):
            pass


def test_what_is_kept_is_no_more_than_is_needed(tmp_path: Path) -> None:
    with serve(SimulatorSettings(keys=tmp_path)):
        pass
    state = json.loads((tmp_path / "simulator.json").read_text())
    assert set(state) == {"version", "suite", "mchid", "apiv3_key", "merchant", "root", "public_key", "certificates"}
