"""A local WeChat Pay for development, demos and tests, since there is no sandbox. Not for production.

It is a real HTTP server on loopback that enforces the protocol strictly: signatures, nonces, the clock, multipart,
sha256, names, limits, quota, and that every line decrypts with the declared key. It keeps digests of numbers, never
the numbers.
"""

from __future__ import annotations

try:
    import python_multipart  # noqa: F401  # is it there?
    import starlette  # noqa: F401  # is it there?
    import uvicorn  # noqa: F401  # is it there?
except ImportError as failure:
    raise ImportError(f"the simulator needs {failure.name}: pip install 'airflow-provider-wxbank[simulator]'") from None

from airflow_provider_wxbank.simulator.faults import Fault
from airflow_provider_wxbank.simulator.ledger import numbers_digest
from airflow_provider_wxbank.simulator.server import Simulator, serve
from airflow_provider_wxbank.simulator.settings import SimulatorSettings

__all__ = ["Fault", "Simulator", "SimulatorSettings", "numbers_digest", "serve"]
