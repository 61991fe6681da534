# SPDX-License-Identifier: Apache-2.0
"""Encrypts agreement numbers into lines, and does work on many items in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from airflow_provider_wxbank.wechatpay.crypto.suites import MAX_NUMBER_BYTES, PublicKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

T = TypeVar("T")
R = TypeVar("R")


def encrypt(key: PublicKey, text: str) -> str:
    """One encrypted line without its newline, as its suite has it.

    :param text: 1 to 214 bytes of UTF-8.
    :return: 344 characters with an RSA key of 2048 bits.
    :raises InvalidInput: it is longer, or empty.
    """
    if not 1 <= (size := len(text.encode())) <= MAX_NUMBER_BYTES:
        raise InvalidInput(f"a text to encrypt has 1 to {MAX_NUMBER_BYTES} bytes in UTF-8; this one has {size}")
    return key.encrypt_lines([text]).rstrip(b"\n").decode()


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
