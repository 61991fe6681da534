# SPDX-License-Identifier: Apache-2.0
"""Agreement files for tests."""

from __future__ import annotations

from collections.abc import Iterable

import fsspec

from airflow_provider_wxbank.agreements.outgoing import Outgoing, OutgoingFile
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.client import Client
from tests.conftest import numbers

BANK_TYPE = "ICBC_DEBIT"


def location(path: object) -> Location:
    """A place on this machine's disk."""
    return Location(str(path), fsspec.filesystem("file"), str(path))


def agreement_file(client: Client, index: int, rows: int = 2) -> tuple[bytes, str, str, str]:
    """Content, bank type, filename and serial of a file with numbers that no other index has."""
    key = client.encryption_key()
    content = key.public_key.encrypt_lines(numbers(rows, index * 10_000))
    return content, BANK_TYPE, f"file_{index:05d}.csv", key.serial_no


def outgoing_file(client: Client, index: int, rows: int = 2) -> OutgoingFile:
    """The same, ready for an upload."""
    content, bank_type, filename, serial_no = agreement_file(client, index, rows)
    return OutgoingFile(filename, rows, bank_type, serial_no, lambda: content)


def outgoing(client: Client, count: int) -> Outgoing:
    """So many of them."""
    names = [f"file_{index:05d}.csv" for index in range(count)]
    return Outgoing(BANK_TYPE, names, 2 * count, (outgoing_file(client, index) for index in range(count)))


def outgoing_of(files: Iterable[OutgoingFile]) -> Outgoing:
    """Some files, of which nothing is known before they are asked for."""
    return Outgoing(BANK_TYPE, (), 0, files)
