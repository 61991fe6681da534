# SPDX-License-Identifier: Apache-2.0
"""Names that have moved, but stay public in their former modules.

They are looked up in their new modules when a caller asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def names_of(module: str, **moved: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module whose names have moved.

    :param moved: name to the module that has it now, without the name of this package.
    """

    def get(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # Only now: an import at the top would let a lower layer depend on a higher one.
        return getattr(import_module(f"airflow_provider_wxbank.{moved[name]}"), name)

    return get
