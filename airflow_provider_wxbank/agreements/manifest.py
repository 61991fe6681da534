# SPDX-License-Identifier: Apache-2.0
"""The manifest lists an export's files. It is written last, as the commit mark of the export, and checked when read.

It begins with its seal, see :mod:`.seal`; the next line says which task wrote it. By its identity an export's result
names it: a manifest that took its place has another one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_provider_wxbank.agreements.files import MAX_BYTES, MAX_ROWS, AgreementFile, check_bank_type, check_filename
from airflow_provider_wxbank.agreements.seal import BEGINNING, IDENTITY_DIGITS, identity_of, is_authentic, sealed
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

NAME = "manifest.json"
VERSION = 3
MAX_MANIFEST_BYTES = 64_000_000
"""33 million numbers are 6,000 files, 2 MB of manifest; 100,000 skipped positions are 1 MB."""

_IF_OTHER_NAME = f": the manifest of an export is called {NAME}; give its path, or the folder that it is in"
_IF_MISSING = (
    ": is it on the disk of another machine, or was it removed after the export? Let output_path be a place that every "
    "worker reaches, and run the export again"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")

_KIND = "manifest"
_ORIGIN_BYTES = 20_000
"""Enough for the digest and the names of a task: Airflow allows 250 characters for each."""
_ORIGIN = re.compile(BEGINNING + rb'[0-9a-f]{64}",\n "version": \d+,\n "origin": (\{[^\n]*\}),\n')
_OTHER_VERSION = re.compile(rb'\s*\{(?:\s*"hmac_sha256": ?"[0-9a-f]{64}",)?\s*"version": ?(\d{1,3})\b')
_IDENTIFIED = re.compile(rf"(.*/{re.escape(NAME)})#(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Origin:
    """The task that wrote an export.

    :param map_index: -1 for a task that is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    def is_other_task_of_run(self, other: Origin) -> bool:
        """Whether another task belongs to the same DAG run, and is not this one."""
        return (self.dag_id, self.run_id) == (other.dag_id, other.run_id) and self != other

    def __str__(self) -> str:
        mapped = "" if self.map_index < 0 else f" (map index {self.map_index})"
        return f"task {self.task_id}{mapped} of run {self.run_id} of DAG {self.dag_id}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export wrote.

    :param created_at: RFC 3339, UTC.
    :param skipped: positions of the rows left out, by place (``row``, or ``users.csv line``).
    :param origin: the task that wrote it; None on the command line.
    :param identity: the first 16 hexadecimal digits of its digest; empty before it is written.
    """

    bank_type: str
    prefix: str
    created_at: str
    files: tuple[AgreementFile, ...]
    skipped: Mapping[str, list[int]] = field(default_factory=dict)
    origin: Origin | None = None
    identity: str = field(default="", compare=False)

    @property
    def rows(self) -> int:
        """Numbers in all files."""
        return sum(file.rows for file in self.files)

    @property
    def skipped_count(self) -> int:
        """Rows left out."""
        return sum(map(len, self.skipped.values()))


def to_bytes(manifest: Manifest, naming_secret: bytes) -> bytes:
    """The manifest as JSON that begins with a keyed digest over all that follows.

    :param naming_secret: see :func:`~airflow_provider_wxbank.agreements.files.naming_key`.
    """
    content = {
        "bank_type": manifest.bank_type,
        "prefix": manifest.prefix,
        "created_at": manifest.created_at,
        "rows": manifest.rows,
        "skipped": {"count": manifest.skipped_count, "positions": dict(manifest.skipped)},
        "files": [asdict(file) for file in manifest.files],
    }
    # Laid out by hand, so that digest and origin can be read without parsing the rest.
    origin = json.dumps(None if manifest.origin is None else asdict(manifest.origin))
    rest = f'",\n "version": {VERSION},\n "origin": {origin},{json.dumps(content, indent=1)[1:]}\n'.encode()
    return sealed(_KIND, rest, naming_secret)


def split_identity(uri: str) -> tuple[str, str | None]:
    """A manifest's URI and its identity; None where the URI has none.

    :raises InvalidInput: what follows the ``#`` is not an identity.
    """
    match = _IDENTIFIED.fullmatch(uri)
    if match is None:
        return uri, None
    path, identity = match.groups()
    if not re.fullmatch(f"[0-9a-f]{{{IDENTITY_DIGITS}}}", identity):
        raise InvalidInput(
            f"the manifest {path} is followed by # and {len(identity)} characters that are not the {IDENTITY_DIGITS} "
            "hexadecimal digits of an export's result: give the result as it is, or the path alone"
        )
    return path, identity


def manifest_in(where: Location) -> Location:
    """Where the manifest is that somebody means by a path: this file, or the one in this folder."""
    return where.child(NAME) if where.uri.endswith("/") or where.is_folder() else where


def origin_in(location: Location) -> Origin | None:
    """Which task wrote a manifest, as it says itself; None if there is no manifest, or it does not say so.

    This is not authenticated. It serves for not overwriting a manifest, and for nothing else.
    """
    match = _ORIGIN.match(location.beginning(_ORIGIN_BYTES))
    try:
        return None if match is None else _origin(json.loads(match[1]))
    except (ValueError, TypeError, RecursionError):
        return None


def read_manifest(location: Location, naming_secret: bytes, identity: str | None = None) -> Manifest:
    """Read a manifest and check that it is whole and as the export wrote it.

    :param identity: the one that the export gave; None if it is not known.
    :raises InvalidInput: it is missing, truncated, altered, another merchant's, or has another identity.
    """
    where = location.uri
    content = location.read(MAX_MANIFEST_BYTES, _IF_MISSING if location.name == NAME else _IF_OTHER_NAME)
    # Version 1 began with its version, and had its digest at the end. In version 2 filenames had another key.
    if (other := _OTHER_VERSION.match(content)) and int(other[1]) != VERSION:
        raise InvalidInput(f"{where} has version {int(other[1])}, not {VERSION}: run the export again")
    if not content.startswith(BEGINNING):
        raise InvalidInput(f"{where} is no manifest of an export, or is truncated: run the export again")
    # Before anything is parsed.
    if not is_authentic(_KIND, content, naming_secret):
        raise InvalidInput(
            f"{where} was truncated or altered after its export, or was exported with another merchant's connection: "
            "run the export again"
        )
    if identity not in (None, identity_of(content)):
        raise InvalidInput(_replaced(where, origin_in(location)))
    try:
        return replace(_manifest(json.loads(content)), identity=identity_of(content))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as failure:
        raise InvalidInput(f"{where} lacks something: {type(failure).__name__}: run the export again") from None


def _replaced(where: str, by: Origin | None) -> str:
    return (
        f"{where} was replaced since its export told of it{'' if by is None else f', by {by}'}: these are not the "
        "numbers that were to be uploaded. Give each export an output_path of its own, for example ending in "
        "{{ run_id }}/{{ ti.task_id }}, and run export and upload again"
    )


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


def _origin(value: Any) -> Origin | None:
    if value is None:
        return None
    origin = Origin(**value)
    texts = (origin.dag_id, origin.run_id, origin.task_id)
    # The type itself, since a boolean is an instance of int, too.
    if not all(isinstance(one, str) for one in texts) or type(origin.map_index) is not int:
        raise TypeError
    return origin


def _manifest(content: Mapping[str, Any]) -> Manifest:
    if content["version"] != VERSION:
        raise TypeError
    check_bank_type(content["bank_type"])
    files = tuple(AgreementFile(**file) for file in content["files"])
    for file in files:
        # It becomes a part of a path.
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
    return Manifest(
        content["bank_type"],
        str(content["prefix"]),
        str(content["created_at"]),
        files,
        skipped,
        _origin(content["origin"]),
    )
