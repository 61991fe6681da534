# SPDX-License-Identifier: Apache-2.0
"""Takes the bodies of requests apart while they come. It keeps no more of a large one than of the largest valid one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from airflow_provider_wxbank.simulator.refusals import Text

MAX_FILE_BYTES = 2_000_000
MAX_KEPT = MAX_FILE_BYTES + 1
"""Bytes that are kept of a part, or of a body that is not multipart: one more than a file may have."""

MAX_HEADER = 8192

Flaw = tuple[Text, str]
"""What is wrong, and the JSON Pointer to it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart body.

    :param content: its first :data:`MAX_KEPT` bytes.
    """

    name: str
    filename: str | None
    content: bytes = field(repr=False)

    @property
    def is_cut(self) -> bool:
        """Whether more of it may have come than is kept."""
        return len(self.content) >= MAX_KEPT


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    :param content: its first :data:`MAX_KEPT` bytes, if it is not multipart.
    :param parts: the first ``meta`` and the first ``file``, if they came whole.
    :param flaw: why it is not one ``meta`` and one ``file``.
    """

    content: bytes = field(default=b"", repr=False)
    parts: Sequence[Part] = ()
    flaw: Flaw | None = None

    def part(self, name: str) -> Part | None:
        """The part of that name."""
        return next((part for part in self.parts if part.name == name), None)


async def read_body(pieces: AsyncIterator[bytes], content_type: str) -> Body:
    """Read a body to its end, so that neither an answer nor a fault comes before that."""
    kind, options = parse_options_header(content_type)
    # The oldest version of the parser leaves it as it was written.
    if kind.lower() != b"multipart/form-data":
        content = bytearray()
        async for piece in pieces:
            content += piece[: MAX_KEPT - len(content)]
        return Body(bytes(content), flaw=_NOT_MULTIPART)
    form = _Form(options.get(b"boundary", b""))
    async for piece in pieces:
        form.write(piece)
    return Body(parts=form.parts, flaw=form.flaw())


_EXACTLY = "multipart必须恰好包含meta和file"
_NOT_MULTIPART = (
    Text(f"Content-Type必须是multipart/form-data，且{_EXACTLY}", "the Content-Type must be multipart/form-data"),
    "",
)


class _Form:
    """A multipart body, as far as it has come."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[Part] = []
        self._has_boundary = bool(boundary)
        self._is_broken = False
        self._has_ended = False
        self._count = 0
        self._begin()
        try:
            self._parser = MultipartParser(boundary, {
                "on_part_begin": self._begin,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            })  # fmt: skip
        except FormParserError:
            self._is_broken = True

    def write(self, piece: bytes) -> None:
        """Take the next piece. What comes after a mistake is ignored."""
        if self._has_boundary and not self._is_broken:
            try:
                self._parser.write(piece)
            except FormParserError:
                self._is_broken = True

    def flaw(self) -> Flaw | None:
        """Why it is not one ``meta`` and one ``file``."""
        names = [part.name for part in self.parts]
        if not self._has_boundary:
            return Text("Content-Type缺少boundary", "the Content-Type has no boundary"), ""
        if self._is_broken:
            return Text("multipart格式错误", "the body is not multipart of the boundary in its Content-Type"), ""
        if not self._has_ended:
            return Text("multipart不完整", "the body ends before its last boundary"), ""
        for name in ("meta", "file"):
            if name not in names:
                return Text(f"{_EXACTLY}，缺少{name}", f"the body has no part {name}"), f"/{name}"
        if self._count != 2:
            return Text(f"{_EXACTLY}，不能有其他部分", "the body must have one meta, one file, and no other part"), ""
        if any(part.is_cut for part in self.parts if part.name == "meta"):
            return Text("meta过大", "meta is too large"), "/meta"
        return None

    def _begin(self) -> None:
        self._header_name, self._header_value = bytearray(), bytearray()
        self._name, self._filename = "", ""
        self._content = bytearray()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start : min(end, start + MAX_HEADER - len(self._header_name))]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start : min(end, start + MAX_HEADER - len(self._header_value))]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        self._count += 1

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_kept():
            self._content += data[start : min(end, start + MAX_KEPT - len(self._content))]

    def _end_part(self) -> None:
        if self._is_kept():
            self.parts.append(Part(self._name, self._filename or None, bytes(self._content)))

    def _is_kept(self) -> bool:
        return self._name in ("meta", "file") and all(part.name != self._name for part in self.parts)

    def _end(self) -> None:
        self._has_ended = True
