# SPDX-License-Identifier: Apache-2.0
"""Points of SM2's curve (GB/T 32918.5), in Python.

The library verifies signatures and encrypts, but it writes to the process's standard error whenever a signature is
wrong, which belongs to everybody in the process. So what it is to verify is computed here before, and it is never
given a wrong one: :func:`sum_of` may refuse what the library would accept, and never the other way round. How long
this takes depends on the values. That does no harm: they are public, except in :func:`times`, asked once for a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
"""The order of the curve, a prime."""

Point = tuple[int, int]

G: Point = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)

_WINDOW = 4
_WINDOWS = 256 // _WINDOW
_KEPT = 64
"""Points whose tables are kept, of some 200 KB and 10 ms each: WeChat Pay's keys."""

# X, Y, Z of the point (X / Z**2, Y / Z**3), so that additions divide nothing.
_Jacobian = tuple[int, int, int]
_INFINITY: _Jacobian = (1, 1, 0)


def is_on_curve(point: Point) -> bool:
    """Whether two coordinates are a point of the curve. Infinity has none."""
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x * x + A * x + B)) % P == 0


def sum_of(of_g: int, factor: int, point: Point) -> Point | None:
    """``of_g * G + factor * point``; None for infinity.

    :param point: one on the curve.
    """
    return _affine(_added(_added(_INFINITY, of_g, G), factor, point))


def times(factor: int) -> Point | None:
    """``factor * G``: the public half of a private key. It is computed once for a key, where the key is read."""
    return _affine(_added(_INFINITY, factor, G))


def _added(total: _Jacobian, factor: int, point: Point) -> _Jacobian:
    for table in _tables(point):
        digit = factor & ((1 << _WINDOW) - 1)
        factor >>= _WINDOW
        if digit:
            total = _add(total, table[digit - 1])
    return total


@lru_cache(_KEPT)
def _tables(point: Point) -> tuple[tuple[Point, ...], ...]:
    """For each digit of a factor, from its end, what the digits 1 to 15 stand for."""
    tables = []
    for _ in range(_WINDOWS):
        multiples: list[_Jacobian] = [(*point, 1)]
        while len(multiples) < 1 << _WINDOW:
            multiples.append(_add(multiples[-1], point))
        *table, point = _affine_all(multiples)
        tables.append(tuple(table))
    return tuple(tables)


def _add(one: _Jacobian, other: Point) -> _Jacobian:
    x1, y1, z1 = one
    if z1 == 0:
        return (*other, 1)
    square = z1 * z1 % P
    h = (other[0] * square - x1) % P
    r = (other[1] * square * z1 - y1) % P
    if h == 0:
        return _doubled(one) if r == 0 else _INFINITY
    h2 = h * h % P
    h3, v = h * h2 % P, x1 * h2 % P
    x3 = (r * r - h3 - 2 * v) % P
    return x3, (r * (v - x3) - y1 * h3) % P, z1 * h % P


def _doubled(one: _Jacobian) -> _Jacobian:
    x, y, z = one
    z2, y2 = z * z % P, y * y % P
    beta, alpha = x * y2 % P, 3 * (x - z2) * (x + z2) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * y2 * y2) % P, 2 * y * z % P


def _affine(one: _Jacobian) -> Point | None:
    return _scaled(one, pow(one[2], -1, P)) if one[2] else None


def _affine_all(points: Sequence[_Jacobian]) -> list[Point]:
    """Points of which none is at infinity, with one inversion for all, which takes as long as a hundred products."""
    products = list(accumulate((z for _, _, z in points), lambda one, other: one * other % P))
    inverse = pow(products[-1], -1, P)
    found = []
    for before, one in zip([*products[-2::-1], 1], reversed(points), strict=True):
        found.append(_scaled(one, inverse * before % P))
        inverse = inverse * one[2] % P
    return found[::-1]


def _scaled(one: _Jacobian, inverse: int) -> Point:
    square = inverse * inverse % P
    return one[0] * square % P, one[1] * square * inverse % P
