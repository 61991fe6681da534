# SPDX-License-Identifier: Apache-2.0
"""Messages name parameters, as a DAG has them; on a command line they are options: ``bank_type`` is ``--bank-type``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from airflow_provider_wxbank.cli.definition import COMMANDS

_NO_OTHER_WORD = frozenset({"sql", "filenames"})
"""Names without an underscore that messages have for nothing else. A file, a source or a column may be any."""

_QUOTED = (r"(?<!\w)'(?:[^'\\]|\\.)*'", r'"(?:[^"\\]|\\.)*"')
_PATH = r"""[^\s'"]*[/\\][^\s'"]*"""


@dataclass(frozen=True, slots=True)
class Named:
    """The options of a command that is run.

    :param options: by the names that messages have for them.
    :param typed: what was given to the command, which is nobody's name.
    """

    options: Mapping[str, str]
    typed: Collection[str] = ()

    @classmethod
    def of(cls, command: str, args: argparse.Namespace) -> Named:
        """The options of a command, and what was typed."""
        flags = [flag for one in COMMANDS if one.name == command for arg in one.args for flag in arg.flags]
        options = {flag[2:].replace("-", "_"): flag for flag in flags if flag.startswith("--")}
        return cls(options, list(_texts(vars(args).values())))

    def in_text(self, text: str) -> str:
        """A message with options for the names of parameters, but for what is quoted in it, a path, or was typed."""
        if not self.options:
            return text
        typed = [rf"\S*{re.escape(one)}\S*" for one in self.typed if any(name in one for name in self.options)]
        names = "|".join(sorted(self.options, key=len, reverse=True))
        name = rf"(?<![\w.-])(?P<name>{names})(?P<is_set>=True)?(?![\w=-]|\.\w)"
        return re.sub("|".join((*typed, *_QUOTED, _PATH, name)), self._shown, text)

    def _shown(self, found: re.Match[str]) -> str:
        name = found["name"]
        is_parameter = name is not None and ("_" in name or name in _NO_OTHER_WORD or found["is_set"])
        return self.options[name] if is_parameter else found[0]


def _texts(values: Collection[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)
