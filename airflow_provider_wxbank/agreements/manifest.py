"""An export's files, written last and read back checked: the manifest is the export's commit mark."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_wxbank.agreements.files import AgreementFile
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.packages import (
    MAX_BYTES,
    MAX_ROWS,
    check_bank_type,
    check_filename,
)

NAME = "manifest.json"
VERSION = 1
MAX_MANIFEST_BYTES = 64_000_000
"""33 million numbers are 6,000 files, 2 MB of manifest; 100,000 skipped positions are 1 MB."""

_IF_MISSING = (
    ": is it on the disk of another machine, or was it removed after the export? Let output_path be a place that every "
    "worker reaches, and run the export again"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export wrote.

    :param created_at: RFC 3339, UTC.
    :param skipped: positions of the rows left out, by place (``row``, or ``users.csv line``).
    """

    bank_type: str
    prefix: str
    created_at: str
    files: tuple[AgreementFile, ...]
    skipped: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Numbers in all files."""
        return sum(file.rows for file in self.files)

    @property
    def skipped_count(self) -> int:
        """Rows left out."""
        return sum(map(len, self.skipped.values()))


def to_bytes(manifest: Manifest, key: bytes) -> bytes:
    """The manifest as JSON, with a keyed digest over itself.

    :param key: see :func:`~airflow_provider_wxbank.agreements.files.naming_key`.
    """
    content = {
        "version": VERSION,
        "bank_type": manifest.bank_type,
        "prefix": manifest.prefix,
        "created_at": manifest.created_at,
        "rows": manifest.rows,
        "skipped": {"count": manifest.skipped_count, "positions": dict(manifest.skipped)},
        "files": [asdict(file) for file in manifest.files],
    }
    return (json.dumps({**content, "hmac_sha256": _digest(content, key)}, indent=1) + "\n").encode()


def read_manifest(location: Location, key: bytes) -> Manifest:
    """Read a manifest and check that it is whole and as the export wrote it.

    :raises InvalidInput: missing, truncated, altered, or of another merchant.
    """
    where = location.uri
    try:
        content = json.loads(location.read(MAX_MANIFEST_BYTES, _IF_MISSING))
        if not isinstance(content, dict):
            raise TypeError
        version, digest = content.get("version"), content.pop("hmac_sha256", None)
        expected = _digest(content, key)
    except (ValueError, TypeError, RecursionError) as failure:
        if isinstance(failure, InvalidInput):
            raise
        raise InvalidInput(f"{where} is no manifest, or is truncated: run the export again") from None
    if version != VERSION:
        known = version if isinstance(version, int) and 0 <= version < 1000 else "unknown"
        raise InvalidInput(f"{where} has version {known}, not {VERSION}: run the export again")
    if not (isinstance(digest, str) and digest.isascii() and hmac.compare_digest(digest, expected)):
        raise InvalidInput(
            f"{where} was altered after its export, or was exported with another merchant's connection: "
            "run the export again"
        )
    try:
        return _manifest(content)
    except (KeyError, TypeError, AttributeError) as failure:
        raise InvalidInput(f"{where} lacks something: {type(failure).__name__}: run the export again") from None


def read_file(folder: Location, file: AgreementFile) -> bytes:
    """The content of an agreement file, checked against the manifest.

    :raises InvalidInput: the file is missing, or not as it was exported.
    """
    content = folder.child(file.filename).read(MAX_BYTES, _IF_MISSING)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InvalidInput(
            f"{folder.child(file.filename).uri} was changed after its export (its sha256 is another): "
            "run the export again"
        )
    return content


def _digest(content: Mapping[str, Any], key: bytes) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, b"manifest\n" + canonical, hashlib.sha256).hexdigest()


def _manifest(content: Mapping[str, Any]) -> Manifest:
    check_bank_type(content["bank_type"])
    files = tuple(AgreementFile(**file) for file in content["files"])
    for file in files:
        check_filename(file.filename)
        if any(
            type(getattr(file, name)) is not kind for name, kind in (("rows", int), ("bytes", int), ("serial_no", str))
        ):
            raise TypeError
        if not 1 <= file.rows <= MAX_ROWS or not _SHA256.fullmatch(file.sha256):
            raise TypeError
    if not files or len({file.filename for file in files}) != len(files):
        raise TypeError
    skipped = content["skipped"]["positions"]
    for positions in skipped.values():
        if not isinstance(positions, list) or any(type(position) is not int for position in positions):
            raise TypeError
    return Manifest(content["bank_type"], str(content["prefix"]), str(content["created_at"]), files, skipped)
