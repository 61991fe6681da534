# SPDX-License-Identifier: Apache-2.0
"""What disks and object stores raise becomes our own errors, by what can be done about it.

Each library has errors of its own, and none of them may be installed: they are told apart by the names of their
classes, by ``errno``, and by the code of the answer. Their texts are left out: they quote addresses and answers, which
may have a secret in them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_wxbank.wechatpay.errors import AGAIN, InvalidInput, TryLater, WxBankError

T = TypeVar("T")

_LIBRARIES = frozenset({
    "botocore", "aiobotocore", "boto3", "s3fs", "aiohttp", "asyncssh", "sshfs", "fsspec", "gcsfs", "google", "adlfs",
    "azure", "requests", "urllib3",
})  # fmt: skip
"""Where the errors come from that are no :class:`OSError`."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Errors that ask for the same.

    :param names: of their classes, or of classes above those.
    :param signs: numbers of ``errno``, codes of S3 and status codes of HTTP.
    """

    error: type[InvalidInput | TryLater]
    what: str
    names: frozenset[str]
    signs: frozenset[int | str]


_KINDS = (
    _Kind(
        InvalidInput,
        "its bucket does not exist: correct the URL, or create the bucket",
        frozenset(),
        frozenset({"NoSuchBucket"}),
    ),
    _Kind(
        InvalidInput,
        "it does not exist, or a folder or bucket that it is in does not",
        frozenset({"FileNotFoundError", "SFTPNoSuchFile", "SFTPNoSuchPath", "ResourceNotFoundError"}),
        frozenset({404}),
    ),
    _Kind(
        InvalidInput,
        "the server's host key is not the one that is known, or none is known: put it into host_key of the "
        "connection's extra, as ssh-keyscan prints it and once you have compared it with the server's own, or into "
        "the worker's ~/.ssh/known_hosts",
        frozenset({"HostKeyNotVerifiable"}),
        frozenset(),
    ),
    _Kind(
        InvalidInput,
        "the private key of the connection cannot be read: is it whole, and is its passphrase in "
        "private_key_passphrase of the extra?",
        frozenset({"KeyImportError", "KeyEncryptionError"}),
        frozenset(),
    ),
    _Kind(
        InvalidInput,
        "permission was denied: let the account that is used there list, read, write and remove files in this place, "
        "or correct its keys or password",
        frozenset({
            "PermissionError", "PermissionDenied", "SFTPPermissionDenied", "SFTPWriteProtect", "NoCredentialsError",
            "PartialCredentialsError", "ProfileNotFound", "ClientAuthenticationError", "DefaultCredentialsError",
        }),
        frozenset({errno.EACCES, errno.EPERM, errno.EROFS, 401, 403}),
    ),
    _Kind(
        TryLater,
        "there is no room for it on that disk, or in that account's quota: make room, and run it again",
        frozenset({"SFTPNoSpaceOnFilesystem", "SFTPQuotaExceeded"}),
        frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}),
    ),
    _Kind(
        InvalidInput,
        "there is a file where a folder should be, or a folder where a file should be",
        frozenset({"IsADirectoryError", "NotADirectoryError", "FileExistsError", "SFTPNotADirectory"}),
        frozenset(),
    ),
    _Kind(
        InvalidInput,
        "a bucket or key of this name is not taken there, or the connection's region, endpoint_url or settings are "
        "wrong",
        frozenset({
            "ParamValidationError", "NoRegionError", "InvalidRegionError", "ValueError", "ProtocolNotSupported",
            "SFTPInvalidFilename",
        }),
        frozenset({errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSYS, errno.EREMCHG, 301, 307, 400}),
    ),
)  # fmt: skip

_CODE = re.compile(r"[A-Za-z0-9.]{1,60}")


@contextmanager
def telling(uri: str, done: str) -> Iterator[None]:
    """Raise what a filesystem raises as our own errors. Nothing but calls of a filesystem belongs inside.

    :param done: what is done with the file, for the message: ``read``, ``written``.
    :raises InvalidInput: somebody has to correct something.
    :raises TryLater: it may pass: the place was not reached, is too busy, or has no room.
    """
    try:
        yield
    except Exception as failure:
        told = told_of(failure, uri, done)
        if told is None and isinstance(failure, ValueError) and not isinstance(failure, WxBankError):
            # So botocore refuses an endpoint_url that is no URL.
            told = _told_as(failure, uri, done)
        if told is None:
            raise
        raise told from None


def reading(uri: str, values: Iterable[T]) -> Iterator[T]:
    """What is read from a file, piece by piece, with the errors of its filesystem told as our own."""
    try:
        yield from values
    except Exception as failure:
        told = told_of(failure, uri, "read")
        if told is None:
            raise
        raise told from None


def told_of(failure: Exception, uri: str, done: str) -> WxBankError | None:
    """Our error for what a filesystem raised; None if it is our own already, or comes from elsewhere."""
    if isinstance(failure, WxBankError):
        return None
    if type(failure) is OSError and failure.errno is None:
        # gcsfs has no class for a refusal. pyarrow's damaged files are plain ones, too, and no matter of storage.
        return _told_as(PermissionError(), uri, done) if str(failure).startswith("Forbidden") else None
    if isinstance(failure, OSError) or type(failure).__module__.partition(".")[0] in _LIBRARIES:
        return _told_as(failure, uri, done)
    return None


def _told_as(failure: Exception, uri: str, done: str) -> WxBankError:
    names = {kind.__name__ for kind in type(failure).__mro__}
    signs = set(_signs(failure))
    shown = ", ".join([type(failure).__name__, *sorted(sign for sign in signs if isinstance(sign, str))])
    if isinstance(failure, OSError) and failure.errno:
        shown += f", {os.strerror(failure.errno)}"
    for kind in _KINDS:
        if names & kind.names or signs & kind.signs:
            return kind.error(f"{uri} cannot be {done}: {kind.what} ({shown})")
    return TryLater(f"{uri} could not be {done} now: its place was not reached, or failed ({shown}){AGAIN}")


def _signs(failure: BaseException) -> Iterator[int | str]:
    """``errno``, the status of an answer, and the code in it, of an error and of what it was made from."""
    for one in (failure, failure.__cause__):
        for name in ("errno", "status", "status_code", "code"):
            if isinstance(value := getattr(one, name, None), int):
                yield value
        answer = getattr(one, "response", None)
        error = answer.get("Error") if isinstance(answer, dict) else None
        code = error.get("Code") if isinstance(error, dict) else None
        if isinstance(code, str) and _CODE.fullmatch(code):
            yield int(code) if code.isdigit() else code
