# SPDX-License-Identifier: Apache-2.0
"""The bank types of WeChat Pay's page 银行类型对照表 (P/4012076355), read on 2026-08-08."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def known_bank_types() -> frozenset[str]:
    """The 449 bank types in the page; WeChat Pay's full table is longer."""
    return frozenset(files(__package__).joinpath("bank_types.txt").read_text("ascii").split())


def is_known(bank_type: str) -> bool:
    """Whether the page lists a bank type. One that it does not list may exist all the same."""
    return bank_type in known_bank_types()
