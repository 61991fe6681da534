# SPDX-License-Identifier: Apache-2.0
"""Keeps WeChat Pay's list of certificates for the next process of the same user, as it came.

A task is a process of its own, which would download the list for the sake of one answer. The list is sealed with the
APIv3 key and signed, so it is opened and verified anew by whoever reads it, and nothing that stands in the file is
believed for standing there.
"""

from __future__ import annotations

import json
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir, mkstemp

from airflow_provider_wxbank.wechatpay.crypto.verification import SIGNATURE_HEADERS
from airflow_provider_wxbank.wechatpay.sending import MAX_ANSWER_BYTES
from airflow_provider_wxbank.wechatpay.settings import Settings

_MAX_BYTES = 2 * MAX_ANSWER_BYTES


@dataclass(frozen=True, slots=True)
class KeptList:
    """A file for the list of one merchant at one host.

    What goes wrong with it is not told: then the list is downloaded, as it is without the file.
    """

    path: Path

    def read(self) -> tuple[Mapping[str, str], bytes] | None:
        """Signature headers and body of the answer that was kept last, both to be verified; None if there is none."""
        try:
            _check_folder(self.path.parent)
            with open(self.path, "rb", opener=_open_itself) as file:  # Path.open takes no opener
                kept = json.loads(file.read(_MAX_BYTES))
            return {name: str(kept[name]) for name in SIGNATURE_HEADERS}, b64decode(kept["body"], validate=True)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, headers: Mapping[str, str], body: bytes) -> None:
        """Keep a list that was verified, in the place of the last one."""
        kept = {**{name: headers[name] for name in SIGNATURE_HEADERS}, "body": b64encode(body).decode()}
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


def _open_itself(path: str, flags: int) -> int:
    # A link cannot lead it elsewhere, nor a pipe hold it up.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _check_folder(folder: Path) -> None:
    """:raises OSError: others could write in this folder."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder of this user alone")
