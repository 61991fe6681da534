# SPDX-License-Identifier: Apache-2.0
"""Takes DER apart (X.690), as far as keys and ciphertexts need it that :mod:`cryptography` does not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

INTEGER, BIT_STRING, OCTET_STRING, SEQUENCE = 0x02, 0x03, 0x04, 0x30
FIRST, SECOND = 0xA0, 0xA1
"""Context tags, constructed: [0] and [1]."""

SHORT = 0x80
"""Lengths below it are one byte."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element.

    :param der: the whole of it, tag and length included.
    """

    tag: int
    value: bytes = field(repr=False)
    der: bytes = field(repr=False)

    def of(self, tag: int) -> bytes:
        """Its value.

        :raises ValueError: it has another tag.
        """
        if self.tag != tag:
            raise ValueError("an element of DER has another tag than it should")
        return self.value

    def number(self) -> int:
        """The value of an INTEGER that is not negative, in its only right form.

        :raises ValueError: it is something else.
        """
        value = self.of(INTEGER)
        is_padded = len(value) > 1 and value[0] == 0 and value[1] < SHORT
        if not value or value[0] >= SHORT or is_padded:
            raise ValueError("an INTEGER of DER is negative, or longer than it need be")
        return int.from_bytes(value, "big")


def elements(data: bytes) -> Iterator[Element]:
    """The elements that stand one after the other in some bytes.

    :raises ValueError: it is not DER, or breaks off.
    """
    start = 0
    while start < len(data):
        head = data[start : start + 2]
        if len(head) < 2:
            raise ValueError("DER breaks off")
        begin, length = start + 2, head[1]
        if length >= SHORT:
            count = length - SHORT
            length = int.from_bytes(data[begin : begin + count], "big")
            begin += count
            if not 1 <= count <= 3 or length < (SHORT if count == 1 else 1 << 8 * (count - 1)):
                raise ValueError("a length of DER is not in its only right form")
        end = begin + length
        if end > len(data):
            raise ValueError("DER breaks off")
        yield Element(head[0], data[begin:end], data[start:end])
        start = end


def members(data: bytes) -> list[Element]:
    """The members of the one SEQUENCE that some bytes are.

    :raises ValueError: they are something else.
    """
    (sequence,) = elements(data)
    return list(elements(sequence.of(SEQUENCE)))


def length_of(value_bytes: int) -> int:
    """Bytes of an element whose value has so many, fewer than 65,536."""
    return value_bytes + (2 if value_bytes < SHORT else 3 if value_bytes < 1 << 8 else 4)
