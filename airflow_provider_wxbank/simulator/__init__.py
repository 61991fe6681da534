# SPDX-License-Identifier: Apache-2.0
"""A local WeChat Pay for development, demos and tests, since there is no sandbox. Not for production.

It is a real HTTP server on loopback that enforces the protocol strictly: signatures, nonces, the clock, multipart,
sha256, names, limits, the quota, and that every line decrypts with the declared key. It keeps digests of numbers,
never the numbers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_wxbank.simulator.faults import Fault
    from airflow_provider_wxbank.simulator.ledger import numbers_digest
    from airflow_provider_wxbank.simulator.server import Simulator, serve
    from airflow_provider_wxbank.simulator.settings import SimulatorSettings

__all__ = ["Fault", "Simulator", "SimulatorSettings", "numbers_digest", "serve"]

_MODULES = {
    "Fault": "faults",
    "Simulator": "server",
    "SimulatorSettings": "settings",
    "numbers_digest": "ledger",
    "serve": "server",
}
_EXTRA = ("python_multipart", "starlette", "uvicorn")


def __getattr__(name: str) -> Any:
    """Import a name only when it is asked for: every ``airflow`` command reads the options of the simulator.

    :raises ImportError: the extra ``simulator`` is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ImportError as failure:
        if failure.name not in _EXTRA:
            raise
        raise ImportError(
            f"the simulator needs {failure.name}: pip install 'airflow-provider-wxbank[simulator]'"
        ) from None
