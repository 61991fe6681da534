"""Agreement files for tests."""

from __future__ import annotations

from airflow_provider_wxbank.agreements.encryption import encrypt_lines
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.uploads import OutgoingFile
from tests.conftest import numbers

BANK_TYPE = "ICBC_DEBIT"


def agreement_file(client: Client, index: int, rows: int = 2) -> tuple[bytes, str, str, str]:
    """Content, bank type, filename and serial of a file with numbers that no other index has."""
    key = client.encryption_key()
    content = encrypt_lines(key.public_key, numbers(rows, index * 10_000))
    return content, BANK_TYPE, f"file_{index:05d}.csv", key.serial_no


def outgoing_file(client: Client, index: int, rows: int = 2) -> OutgoingFile:
    """The same, ready for an upload."""
    content, bank_type, filename, serial_no = agreement_file(client, index, rows)
    return OutgoingFile(filename, rows, bank_type, serial_no, lambda: content)
