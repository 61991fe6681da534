# SPDX-License-Identifier: Apache-2.0
"""Whom the simulator answers: only those who ask it under its own address.

It takes commands without a password, so a page in a browser must not reach it: neither from another site (``Origin``),
nor by a name of that site that leads here (``Host``).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit


def own_addresses(base_url: str, names: Sequence[str] = ()) -> frozenset[str]:
    """The ``host:port`` under which a simulator can be asked.

    :param names: other hosts that lead to it.
    """
    address = urlsplit(base_url)
    hosts = {"127.0.0.1", "localhost", "[::1]", address.netloc.rpartition(":")[0], *names}
    is_default = address.port == (443 if address.scheme == "https" else 80)
    ports = {f":{address.port}"} | ({""} if is_default else set())
    return frozenset(host.lower() + port for host in hosts for port in ports)


def is_answered(addresses: frozenset[str], scheme: str, hosts: Sequence[str], origins: Sequence[str]) -> bool:
    """Whether a request with these headers ``Host`` and ``Origin`` is for the simulator, and not from another page.

    :param scheme: http or https, by which it has come.
    """
    return (
        len(hosts) == 1
        and hosts[0].lower() in addresses
        and all(origin.lower() in {f"{scheme}://{address}" for address in addresses} for origin in origins)
    )
