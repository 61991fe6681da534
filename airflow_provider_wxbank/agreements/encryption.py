# SPDX-License-Identifier: Apache-2.0
"""Encrypts agreement numbers into lines, and does work on many items in their order."""

from __future__ import annotations

from binascii import b2a_base64
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

T = TypeVar("T")
R = TypeVar("R")

MAX_NUMBER_BYTES = 214
"""Bytes of a number: what OAEP leaves of a 2048-bit block (P/4013053257: 加密原串的长度不能超过214字节)."""


def encrypt(key: RSAPublicKey, text: str) -> str:
    """One encrypted line without its newline: RSAES-OAEP with SHA-1 and MGF1-SHA-1, Base64 (P/4013053257).

    :param text: at most 214 bytes of UTF-8 with a 2048-bit key.
    :return: 344 characters with a 2048-bit key.
    """
    return encrypt_lines(key, [text]).rstrip(b"\n").decode()


def encrypt_lines(key: RSAPublicKey, numbers: Sequence[str]) -> bytes:
    """The content of an agreement file: one encrypted number a line, each line ended by a newline.

    Safe to use from many threads: the padding holds no state, and every number is a call of its own.
    """
    # WeChat Pay's choice, and used for nothing else here. OAEP's security does not depend on collisions of SHA-1.
    padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303  # see above
    encrypt_one = key.encrypt
    # Between two calls of the library Python's lock is held and other threads wait, so as little as possible is done.
    return b"".join([b2a_base64(encrypt_one(number, padding)) for number in map(str.encode, numbers)])


def line_bytes(key: RSAPublicKey) -> int:
    """Length of an encrypted line with its newline: 345 for a 2048-bit key."""
    return 4 * -(-(key.key_size // 8) // 3) + 1


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R, None, None]:
    """Apply a function in threads, and yield the results in the order of the items.

    At most two items for each thread are taken ahead, so memory is bounded and a slow consumer slows the source.

    :param workers: threads.
    """
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="wxbank-encrypt") as pool:
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) >= 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            # After a failure, or if the consumer has stopped, items that have not begun are dropped.
            for future in ahead:
                future.cancel()
