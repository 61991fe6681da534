# SPDX-License-Identifier: Apache-2.0
"""A simulator with a clock of its own, and a client that shares no code with it or with ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, serve
from tests.harness.clock import Clock
from tests.harness.raw_client import Answer, PublicKey, RawClient, Upload

NOON = datetime(2026, 11, 2, 4, tzinfo=UTC).timestamp()
NOON_TEXT = "2026-11-02T12:00:00"
DAY = 86400.0
NOT_DECRYPTED = "平台私钥解密失败"
COUNTS = ("success_count", "fail_count", "success_user_count")

MERCHANT_PEM = (
    generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


@dataclass(frozen=True, slots=True)
class Bank:
    """A simulator, a client of it, and the key that lines are encrypted with."""

    simulator: Simulator
    client: RawClient
    key: PublicKey
    clock: Clock

    def file(self, *numbers: str, name: str = "file-0001.csv") -> Upload:
        """An upload that is right in all."""
        return Upload(self.key.encrypt(*(numbers or ("6222020000000001",))), name, self.key.serial_no)

    def put(self, package: str, *numbers: str, name: str = "file-0001.csv") -> dict[str, Any]:
        """Upload it, and have it taken."""
        answer = self.client.upload(package, self.file(*numbers, name=name))
        assert answer.status == 200, answer.body.decode()
        return answer.value

    def listed(self, package: str, query: str = "") -> list[str]:
        """The filenames on a page."""
        return [task["filename"] for task in self.client.tasks(package, query).value["data"]]


NewBank = Callable[..., Bank]

_packages = itertools.count(10_000_000)


def new_package() -> str:
    """A package that nobody else uses."""
    return str(next(_packages))


def start(stack: ExitStack, **options: Any) -> Bank:
    """Start a simulator that lives as long as the stack."""
    clock = Clock(NOON)
    defaults: dict[str, Any] = {"merchant_private_key_pem": MERCHANT_PEM, "processing_seconds": 0.0, "clock": clock}
    simulator = stack.enter_context(serve(SimulatorSettings(**(defaults | options))))
    client = RawClient(simulator.airflow_connection(), clock)
    has_public_key = simulator.settings.key_mode != "certificates"
    return Bank(simulator, client, client.public_key() if has_public_key else client.certificates()[0], clock)


def assert_refused(bank: Bank, send: Callable[[], Answer], status: int, code: str, message: str) -> Answer:
    """The answer is this refusal, it was counted, and nothing was committed."""
    before = bank.client.report()
    answer = send()
    assert (answer.status, answer.value["code"]) == (status, code)
    assert message in answer.value["message"]
    after = bank.client.report()
    assert after["packages"] == before["packages"]
    assert after["accepted_uploads"] == before["accepted_uploads"]
    assert after["refused"][code] == before["refused"].get(code, 0) + 1
    return answer


def set_faults(bank: Bank, *faults: Mapping[str, object]) -> None:
    """Let faults happen from now on, in the place of those before."""
    answer = bank.client.set_faults(*faults)
    assert (answer.status, answer.value) == (200, {"faults": len(faults)})
