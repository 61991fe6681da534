# SPDX-License-Identifier: Apache-2.0
"""Ports of loopback for servers that cannot be told to choose one themselves."""

from __future__ import annotations

import contextlib
import random
import socket

BELOW_EPHEMERAL = range(20_000, 32_768)
"""Linux gives a connection's own end a port from 32768 up (``ip_local_port_range``): a port that was found free there
may be taken before the server that is to have it has started."""


def free_ports(count: int) -> list[int]:
    """Some ports that nobody listens on.

    :raises OSError: there are not so many.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL)):
            if len(ports) == count:
                return ports
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
    raise OSError(f"there are not {count} free ports")
