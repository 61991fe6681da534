# SPDX-License-Identifier: Apache-2.0
"""A running simulator: a uvicorn server in a thread of its own, on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_wxbank.simulator import tls
from airflow_provider_wxbank.simulator.addresses import own_addresses
from airflow_provider_wxbank.simulator.app import App
from airflow_provider_wxbank.simulator.checks import Authorizations, Authorized
from airflow_provider_wxbank.simulator.faults import Fault, FaultPlan
from airflow_provider_wxbank.simulator.key_folder import MerchantKeys, read_keys, write_keys
from airflow_provider_wxbank.simulator.ledger import Ledger
from airflow_provider_wxbank.simulator.line_checks import LineChecks
from airflow_provider_wxbank.simulator.pem import pem
from airflow_provider_wxbank.simulator.platform import PUBLIC_KEY_ID, Platform, new_serial_no
from airflow_provider_wxbank.simulator.settings import KeyMode, SimulatorSettings
from airflow_provider_wxbank.simulator.spoiling import Wire
from airflow_provider_wxbank.simulator.suites import SUITES, Suite

START_SECONDS = 60.0


class Simulator:
    """A local WeChat Pay that is running; made by :func:`serve`.

    :ivar base_url: ``http://127.0.0.1:PORT``, or with https.
    """

    def __init__(self, settings: SimulatorSettings, base_url: str, pool: ThreadPoolExecutor) -> None:
        self.settings = settings
        self.base_url = base_url
        self._suite = suite = SUITES[settings.suite]
        self._kept = None if settings.keys is None else read_keys(settings.keys, settings.suite)
        self._merchant = merchant = _new_merchant(settings, suite) if self._kept is None else self._kept[0]
        authorizations = Authorizations(
            Authorized(merchant.mchid, merchant.serial_no, suite.scheme, merchant.key.verify),
            settings.clock,
            refuse_repeated_nonces=settings.refuse_repeated_nonces,
        )
        addresses = own_addresses(base_url, tls.HOSTS if settings.tls else ())
        self.app = App(settings, addresses, *self._fresh(), authorizations, pool)
        self._keep()

    @property
    def platform(self) -> Platform:
        """WeChat Pay's keys."""
        return self.app.platform

    @property
    def root_certificate(self) -> str:
        """PEM of the root certificate that signs those of the platform."""
        return self.platform.root.certificate

    def reset(self) -> None:
        """Forget what has arrived and the faults, and begin with new keys of WeChat Pay, but with the same merchant."""
        # The new ones are in place before the old checks end, which may take a while.
        checks = self.app.checks
        self.app.platform, self.app.ledger, self.app.faults, self.app.checks = self._fresh()
        checks.end()
        self._keep()

    def _fresh(self) -> tuple[Platform, Ledger, FaultPlan, LineChecks]:
        settings = self.settings
        platform = Platform(
            self._suite,
            settings.key_mode,
            self._merchant.apiv3_key,
            settings.clock,
            leading_zero=settings.leading_zero_serials,
            kept=None if self._kept is None else self._kept[1],
        )
        platform.rotated = self._keep
        return platform, Ledger(settings), FaultPlan(), LineChecks(settings.clock)

    def _keep(self) -> None:
        """Keep the keys in the folder, if there is one."""
        folder = self.settings.keys
        if folder is None:
            return
        merchant = self._merchant
        if not merchant.certificate:
            now = self.settings.clock()
            signed = self.platform.root.key.certify(
                merchant.key.public_der, merchant.mchid, merchant.serial_no, now - 86400, now + 1800 * 86400
            )
            self._merchant = merchant = replace(merchant, certificate=signed.decode())
        self._kept = merchant, self.platform.keys
        write_keys(folder, self.settings.suite, *self._kept)

    def airflow_connection(self) -> dict[str, Any]:
        """The Airflow connection to this simulator in its JSON form. The key in it is a throwaway."""
        key = pem("PRIVATE KEY", self._merchant.key.der)
        extra = {"merchant_serial_no": self._merchant.serial_no, "merchant_private_key": key}
        if self.settings.suite == "sm2":
            # The same for the same key, so that filenames stay after a restart.
            extra["naming_secret"] = sha256(self._merchant.key.der).hexdigest()
        if self.platform.mode != "certificates":
            extra["wechatpay_public_key"] = self.platform.public_key_pem()
            extra["wechatpay_public_key_id"] = PUBLIC_KEY_ID
        if self.settings.pin_root:
            extra["wechatpay_root_certificate"] = self.root_certificate
        return {
            "conn_type": "wxbank",
            "host": self.base_url,
            "login": self._merchant.mchid,
            "password": "" if self.platform.mode == "public-key" else self._merchant.apiv3_key,
            "extra": extra,
        }

    def report(self) -> dict[str, Any]:
        """What has arrived, as ``GET /simulator/report`` answers it, once all its lines are decrypted.

        :raises Ended: the simulator ends meanwhile.
        """
        return self.app.report()

    def answer_at(self, url: str) -> None:
        """Answer requests to another address, too: the address of a relay in front of this simulator.

        :param url: ``http://HOST:PORT``.
        """
        self.app.addresses |= {urlsplit(url).netloc.lower()}

    def add_fault(self, fault: Fault) -> None:
        """Let a fault happen from now on."""
        self.app.faults.add(fault)

    def clear_faults(self) -> None:
        """No more faults."""
        self.app.faults.clear()

    def rotate_certificate(self, *, overlap: bool = True) -> str:
        """Bring a new certificate into force.

        :param overlap: whether the old ones stay in the list.
        :return: the new serial.
        """
        return self.platform.rotate(overlap=overlap)

    def set_key_mode(self, mode: KeyMode) -> None:
        """Begin, finish or undo the migration to the public key."""
        self.platform.mode = mode


@contextmanager
def serve(
    settings: SimulatorSettings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    all_interfaces: bool = False,
) -> Iterator[Simulator]:
    """Run a simulator until the block ends. Requests that hang are cut off then.

    :param host: the loopback address that it has for its clients.
    :param port: 0 for a free one.
    :param all_interfaces: whether it listens on every interface of a container, outside of which the same port of the
        host leads to it.
    :raises ValueError: the host is not loopback, or the folder for the keys cannot be used.
    :raises OSError: the port is in use.
    """
    if not (host == "localhost" or _is_loopback(host)):
        raise ValueError(f"the simulator listens on loopback only, not on {host}; a container has --all-interfaces")
    # Only for a socket whose protocol is named does asyncio switch Nagle's algorithm off, which would hold an answer
    # back for 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener, ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="wxbank-simulator") as pool:
        listener.bind(("" if all_interfaces else host, port))
        address = f"[{host}]" if ":" in host else host
        settings = settings or SimulatorSettings()
        certificate, key = _tls_files(settings)
        base_url = f"{'https' if settings.tls else 'http'}://{address}:{listener.getsockname()[1]}"
        simulator = Simulator(settings, base_url, pool)
        wire = simulator.app.wire
        server = _Server(wire, Config(
            simulator.app,
            http=_protocol(wire),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=8,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        ))  # fmt: skip
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="wxbank-simulator", daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the simulator did not start")
                time.sleep(0.01)
            yield simulator
        finally:
            server.should_exit = True
            # Before the server ends: it waits for reports, and they wait for these checks.
            simulator.app.checks.end()
            thread.join(START_SECONDS)


class _Server(Server):
    """A server that tells hanging requests when it stops."""

    def __init__(self, wire: Wire, config: Config) -> None:
        super().__init__(config)
        self._wire = wire

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._wire.stopping = asyncio.Event()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._wire.stopping is not None:
            self._wire.stopping.set()
        await super().shutdown(sockets)
        # One over TLS is still waiting for the other side to say that it ends, too.
        for transport in [*self._wire.transports.values()]:
            transport.abort()
        await asyncio.sleep(0)


def _protocol(wire: Wire) -> type[H11Protocol]:
    """uvicorn's protocol, which lets the faults reach the transports of its connections."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP only
            super().connection_made(transport)
            # Over TLS it cannot be asked for any more once the connection is lost.
            self.peer = tuple(transport.get_extra_info("peername")[:2])
            wire.transports[self.peer] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            wire.transports.pop(self.peer, None)
            super().connection_lost(exc)

    return Protocol


def _new_merchant(settings: SimulatorSettings, suite: Suite) -> MerchantKeys:
    given = settings.merchant_private_key_pem
    return MerchantKeys(
        settings.mchid,
        settings.apiv3_key or secrets.token_hex(16),
        suite.new_key() if given is None else suite.read_key(given),
        new_serial_no(),
        "",
    )


def _tls_files(settings: SimulatorSettings) -> tuple[Path, Path] | tuple[None, None]:
    """:raises ValueError: there is no folder for the certificate of the CA."""
    if not settings.tls:
        return None, None
    if settings.keys is None:
        raise ValueError("--tls needs --keys, a folder for the certificate of its CA")
    return tls.server_files(settings.keys)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
