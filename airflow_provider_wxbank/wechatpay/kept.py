# SPDX-License-Identifier: Apache-2.0
"""Keeps WeChat Pay's list of certificates for the next process of the same user, as it came.

A task is a process of its own, which would download the list for the sake of one answer. The list is sealed with the
APIv3 key and signed, so it is opened and verified anew by whoever reads it, and nothing that stands in the file is
believed for standing there.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir, mkstemp

from airflow_provider_wxbank.wechatpay.crypto.verification import SIGNATURE_HEADERS
from airflow_provider_wxbank.wechatpay.files import read_file
from airflow_provider_wxbank.wechatpay.sending import MAX_ANSWER_BYTES
from airflow_provider_wxbank.wechatpay.settings import Settings

_MAX_BYTES = 2 * MAX_ANSWER_BYTES

_TOLD: set[Path] = set()
"""Folders that cannot be used, of which it was told."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands in the file.

    :param headers: those that sign the list, to be verified.
    :param body: the list, to be verified.
    :param withdrawn: serials of certificates that lists had before it. They are believed: all that they
        can cause is that a list is refused.
    """

    headers: Mapping[str, str]
    body: bytes
    withdrawn: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeptList:
    """A file for the list of one merchant at one host.

    What goes wrong with it fails nothing: then the list is downloaded, as it is without the file. A folder that others
    can write is told once.
    """

    path: Path

    def read(self) -> Kept | None:
        """The list that was kept last, to be verified; None if there is none."""
        try:
            _check_folder(self.path.parent)
            # A link cannot lead it elsewhere, nor a pipe hold it up.
            kept = json.loads(read_file(self.path, _MAX_BYTES, itself=True))
            return Kept(
                {name: str(kept[name]) for name in SIGNATURE_HEADERS},
                b64decode(kept["body"], validate=True),
                frozenset(map(str, kept.get("withdrawn", []))),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, headers: Mapping[str, str], body: bytes, withdrawn: Iterable[str]) -> None:
        """Keep a list that was verified, in the place of the last one."""
        kept: dict[str, object] = {name: headers[name] for name in SIGNATURE_HEADERS}
        kept |= {"body": b64encode(body).decode(), "withdrawn": sorted(withdrawn)}
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            _check_folder(self.path.parent)
            descriptor, name = mkstemp(dir=self.path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    json.dump(kept, file)
                Path(name).replace(self.path)
            except BaseException:
                # Whatever ended it, such as the timeout of its task, must not be lost for a file that is gone already.
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except (OSError, ValueError):
            pass


def kept_list(settings: Settings) -> KeptList | None:
    """Where the list of a connection is kept, in the system's folder for temporary files; None without an APIv3 key."""
    if settings.apiv3_key is None:
        return None
    try:
        folder = Path(gettempdir()) / f"wxbank-{os.geteuid()}"
    except OSError:
        return None
    merchant = settings.merchant
    whose = json.dumps([merchant.mchid, merchant.suite.scheme, settings.base_url, settings.backup_url])
    return KeptList(folder / f"certificates-{sha256(whose.encode()).hexdigest()[:32]}.json")


def _check_folder(folder: Path) -> None:
    """:raises OSError: others could write in this folder."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        if folder not in _TOLD:
            _TOLD.add(folder)
            log.warning(
                "%s must be a folder of this user alone; until then, no list of certificates is kept in it, so each "
                "process downloads its own, and does not notice if it gets an older one than others have had",
                folder,
            )
        raise PermissionError(f"{folder} must be a folder of this user alone")
