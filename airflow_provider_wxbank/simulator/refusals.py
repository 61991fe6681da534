# SPDX-License-Identifier: Apache-2.0
"""What an error answer of WeChat Pay looks like (P/4012081709)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MAX_SHOWN = 128
"""Characters of a wrong value that an answer repeats: as many as the longest valid value has."""


class Text(NamedTuple):
    """A message in both languages of WeChat Pay."""

    zh: str
    en: str


class Refusal(Exception):
    """An error answer.

    :param signed: WeChat Pay signs errors, too, except for a request whose signature is wrong (P/4013053420).
    """

    def __init__(
        self, status: int, code: str, text: Text, detail: Mapping[str, object] | None = None, *, signed: bool = True
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.text = text
        self.detail = detail
        self.signed = signed

    def body(self, *, in_english: bool) -> dict[str, object]:
        """The answer as JSON."""
        message = self.text.en if in_english else self.text.zh
        body: dict[str, object] = {"code": self.code, "message": message}
        if self.detail is not None:
            # The issue is the message, so it is in the language of the answer.
            body["detail"] = {name: message if name == "issue" else value for name, value in self.detail.items()}
        return body


def param_error(
    text: Text, field: str, value: object = None, location: str = "body", *, signed: bool = True
) -> Refusal:
    """400 PARAM_ERROR, the closest documented error to what these endpoints answer (P/4012557248).

    :param field: a JSON Pointer into ``meta``, or ``/meta`` or ``/file``; a name in the address, the query or a header.
    :param value: what is wrong, if it may be repeated: nothing of a line, and nothing whose name is not known.
    :param location: ``body``, ``url`` or ``query``; for headers ``header``, which is documented nowhere.
    """
    return Refusal(400, "PARAM_ERROR", text, _detail(field, value, location), signed=signed)


def invalid_request(text: Text, field: str, value: object = None, location: str = "body") -> Refusal:
    """400 INVALID_REQUEST; parameters as for :func:`param_error`."""
    return Refusal(400, "INVALID_REQUEST", text, _detail(field, value, location))


def _detail(field: str, value: object, location: str) -> dict[str, object]:
    if isinstance(value, str):
        # JSON can have halves of characters, which cannot be encoded in an answer.
        value = value[:MAX_SHOWN].encode(errors="replace").decode()
    elif not isinstance(value, int):
        value = None
    return {"field": field[:MAX_SHOWN], "value": value, "issue": "", "location": location}


def prefers_english(accept_language: str | None) -> bool:
    """Whether a request prefers English to Chinese, which is the default. zh-HK and zh-TW get the one Chinese that
    there is (P/4012081709)."""
    languages = []
    for item in (accept_language or "").lower().split(","):
        tag, _, weight = item.replace(" ", "").partition(";q=")
        try:
            languages.append((-float(weight or 1), tag.partition("-")[0]))
        except ValueError:
            continue
    # Sorting is stable: of two languages with the same weight, the first one wins.
    known = [tag for weight, tag in sorted(languages, key=lambda one: one[0]) if weight and tag in ("en", "zh")]
    return known[:1] == ["en"]
