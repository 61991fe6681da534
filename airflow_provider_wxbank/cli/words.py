# SPDX-License-Identifier: Apache-2.0
"""What the commands say: in English, or in Chinese where that is the language of whoever runs them.

Every ``airflow`` command reads this: it imports nothing heavy, and the Chinese words only where they are needed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from airflow_provider_wxbank.plurals import number_of

_SIMPLIFIED = re.compile(r"zh(?![a-z])(?!.*(?:TW|HK|MO|Hant))", re.IGNORECASE)
"""Chinese of any region but those that write it with traditional characters."""
_ENGLISH = re.compile(r"en(?![a-z])", re.IGNORECASE)
_NO_LANGUAGE = re.compile(r"(?:C|POSIX)(?:\.|$)")

_only_english = ContextVar("only_english", default=False)


def worded(english: str, /, **fields: object) -> str:
    """A text in the language of whoever runs the command.

    :param english: a literal, by which :mod:`.chinese` knows the Chinese one. With fields it is a template of them.
    """
    text = english
    if is_chinese():
        from airflow_provider_wxbank.cli.chinese import CHINESE

        text = CHINESE.get(english, english)
    return text.format(**fields) if fields else text


def counted(count: int, one: str, many: str | None = None) -> str:
    """So many of something, as :func:`~airflow_provider_wxbank.plurals.number_of` says it; in Chinese with the measure
    word that :mod:`.chinese` has for it."""
    if not is_chinese():
        return number_of(count, one, many)
    from airflow_provider_wxbank.cli.chinese import MEASURES

    return f"{count:,} {MEASURES[one]}"


def is_chinese() -> bool:
    """Whether texts are Chinese now: it is asked for, and what is printed on can show it."""
    is_wanted = not _only_english.get() and prefers_chinese(os.environ)
    return is_wanted and all(shows("是", stream) for stream in (sys.stdout, sys.stderr))


@contextmanager
def in_english() -> Iterator[None]:
    """Let texts be English: what programs read has one language."""
    token = _only_english.set(True)
    try:
        yield
    finally:
        _only_english.reset(token)


def prefers_chinese(environ: Mapping[str, str]) -> bool:
    """Whether an environment asks for simplified Chinese rather than English, as gettext reads it."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "C")
    # Where it is C, programs speak English, whatever LANGUAGE is.
    if _NO_LANGUAGE.match(locale):
        return False
    # LANGUAGE may list several; the first that there are words in is taken.
    languages = (environ.get("LANGUAGE") or locale).split(":")
    known = (one for one in languages if any(kind.match(one) for kind in (_SIMPLIFIED, _ENGLISH, _NO_LANGUAGE)))
    return _SIMPLIFIED.match(next(known, "")) is not None


def shows(text: str, stream: object) -> bool:
    """Whether a stream can show a text."""
    try:
        # A process may be without a stream, and a stream in memory without an encoding.
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
