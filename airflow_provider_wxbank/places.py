# SPDX-License-Identifier: Apache-2.0
"""Paths and URLs become places: which filesystem of Airflow's, reached with which connection, and which path in it.

Airflow's ``ObjectStoragePath`` is not used for it: it takes URLs apart as those of the web, so that a name ends at its
``?``, and where a connection is missing, its filesystems take the machine's own credentials without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_wxbank._compat import attach, get_fs, has_fs
from airflow_provider_wxbank.agreements.private import is_sftp
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.agreements.storage_errors import told_of
from airflow_provider_wxbank.connections import NoConnection, read_connection
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput

_LOCAL = frozenset({"file", "local"})
_SFTP = frozenset({"sftp", "ssh"})

_CONNECT_SECONDS = 30
_KEEPALIVE_SECONDS = 30
"""After three that are not answered, asyncssh gives the connection up. By itself it waits without end."""


@dataclass(frozen=True, slots=True)
class _Store:
    """A kind of storage that Airflow has a provider for.

    :param schemes: of its URLs.
    :param packages: what brings its filesystem.
    :param connection_types: of its connections; empty if they are not known.
    """

    schemes: frozenset[str]
    packages: str
    connection_types: frozenset[str]


_STORES = (
    _Store(frozenset({"s3", "s3a", "s3n"}), "apache-airflow-providers-amazon[s3fs]", frozenset({"aws", "s3"})),
    _Store(_SFTP, "apache-airflow-providers-sftp[sshfs]", frozenset({"sftp", "ssh"})),
    _Store(frozenset({"gs", "gcs"}), "apache-airflow-providers-google gcsfs", frozenset({"google_cloud_platform"})),
    _Store(frozenset({"abfs", "abfss", "adl"}), "apache-airflow-providers-microsoft-azure adlfs", frozenset()),
)

_ANY_TYPE = frozenset({"", "generic"})

_S3_ENDPOINT = (
    "reach it by its S3 endpoint: s3://conn_id@bucket/folder, with a connection of type aws that has the endpoint_url "
    "in its extra"
)
_NOT_BY_AIRFLOW = {
    **dict.fromkeys(("oss", "cos", "obs", "tos", "minio"), _S3_ENDPOINT),
    **dict.fromkeys(("http", "https", "ftp", "ftps"), "copy the file into a folder, a bucket or an SFTP server first"),
}
"""What to do instead where Airflow has no filesystem for a scheme, whatever is installed."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_SIGNATURE = re.compile(r"[?&](?:[\w-]*signature|[\w-]*credential|[\w-]*token|sig|OSSAccessKeyId)=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Url:
    """A URL of storage; nothing in it is percent-encoded.

    :param conn_id: None for the machine's own credentials.
    :param host: the bucket, the container or the host.
    :param path: begins with ``/``, or is empty.
    """

    scheme: str
    conn_id: str | None
    host: str
    path: str


def check_no_secret(written: str, name: str) -> None:
    """:raises InvalidInput: a URL has a password or a signature in it. Nothing of it is quoted."""
    if not (match := _URL.fullmatch(written)):
        return
    if ":" in match[2].rpartition("@")[0]:
        raise InvalidInput(
            f"{name} has a user and a password in it: put them into a connection, and its id into the URL: "
            f"{match[1]}://conn_id@..."
        )
    if _SIGNATURE.search(written):
        raise InvalidInput(
            f"{name} is a URL with a signature or a key in it, which is a secret: give the place itself, with a "
            "connection that may read it: s3://conn_id@bucket/folder/file"
        )


def place(written: str, name: str) -> Location:
    """A local path, or a URL of storage that Airflow has a filesystem for: ``s3://conn_id@bucket/key``.

    What follows the bucket or host is the name as it is: ``?``, ``#`` and ``%`` mean nothing.

    :param name: of the parameter, for messages.
    :raises InvalidInput: it names no place, what reads such URLs is not installed, its connection does not exist or is
        of another kind, or the connection is not let in.
    :raises TryLater: the place was not reached.
    """
    match = _URL.fullmatch(written)
    if written.startswith("/") or match is None or match[1].lower() in _LOCAL:
        return _local(written, name)
    conn_id, at, host = match[2].rpartition("@")
    if at and not conn_id:
        raise InvalidInput(f"{name} {written!r} has no connection before the @")
    url = _Url(match[1].lower(), conn_id or None, host, match[3])
    filesystem = _filesystem(url, name, written)
    return Location(written, filesystem, _path(url, filesystem, name, written))


def _local(written: str, name: str) -> Location:
    path = written if written.startswith("/") else written.partition("://")[2]
    if not path.startswith("/"):
        raise InvalidInput(f"{name} {written!r} must be an absolute path or a URL like s3://conn_id@bucket/folder")
    # Without doubled slashes and one at the end.
    return Location(written, fsspec.filesystem("file"), str(PurePosixPath(path)))


def _path(url: _Url, filesystem: Any, name: str, written: str) -> str:
    if url.scheme in _SFTP:
        return str(PurePosixPath(url.path or "/"))
    if not url.host:
        raise InvalidInput(f"{name} {written!r} names no bucket: write {url.scheme}://conn_id@bucket/folder")
    # A filesystem takes away the schemes that it calls its own, which may be fewer than those of Airflow.
    own = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    return str(filesystem._strip_protocol(f"{own}://{url.host}{url.path}"))


def _filesystem(url: _Url, name: str, written: str) -> Any:
    store = next((store for store in _STORES if url.scheme in store.schemes), None)
    # Before its connection is asked for. A provider of somebody else may have one.
    if (instead := _NOT_BY_AIRFLOW.get(url.scheme)) and not has_fs(url.scheme):
        raise InvalidInput(f"{name} {written!r}: Airflow has no filesystem for {url.scheme}://; {instead}")
    options = {} if url.conn_id is None else _checked_connection(url, url.conn_id, store, name, written)
    if url.scheme in _SFTP and url.conn_id is None:
        raise InvalidInput(f"{name} {written!r} names no connection: write {url.scheme}://conn_id@/folder/file")
    try:
        if not options:
            return attach(url.scheme, url.conn_id).fs
        # Airflow attaches without options.
        filesystem = get_fs(url.scheme, url.conn_id, options)
        if is_sftp(filesystem) and filesystem.client.is_closed():
            # fsspec keeps filesystems, also those whose connection broke.
            options["skip_instance_cache"] = True
            filesystem = get_fs(url.scheme, url.conn_id, options)
        return filesystem
    except ImportError as failure:
        packages = store.packages if store else failure.name or "the library that its provider names"
        raise InvalidInput(
            f"{name} {written!r}: {url.scheme}:// needs {packages}; install it on every worker"
        ) from None
    except FileNotFoundError:
        raise InvalidInput(
            f"{name} {written!r}: a file that the connection {url.conn_id} names is not on this machine: is its "
            "key_file on every worker?"
        ) from None
    except Exception as failure:
        if str(failure).startswith("No filesystem registered"):
            raise InvalidInput(_why_unknown(url, store, name, written)) from None
        told = told_of(failure, f"{name} {written!r}", "reached")
        raise told or InvalidInput(_unusable(url, failure, name, written)) from None


def _why_unknown(url: _Url, store: _Store | None, name: str, written: str) -> str:
    if store:
        return _not_installed(url, store.packages, name, written)
    known = ", ".join(sorted({"file"}.union(*(store.schemes for store in _STORES))))
    return (
        f"{name} {written!r}: nothing here reads {url.scheme}://. Is it a typing error? Usual are {known}; for another "
        "one install the provider that brings its filesystem"
    )


def _not_installed(url: _Url, packages: str, name: str, written: str) -> str:
    return f"{name} {written!r}: {url.scheme}:// needs {packages}; install it on every worker"


def _unusable(url: _Url, failure: Exception, name: str, written: str) -> str:
    where = f"the connection {url.conn_id}" if url.conn_id else "this machine's own credentials"
    return f"{name} {written!r}: no filesystem can be made with {where}: see its fields ({type(failure).__name__})"


def _checked_connection(url: _Url, conn_id: str, store: _Store | None, name: str, written: str) -> dict[str, Any]:
    """What the filesystem has to be told of a connection beside its id.

    :raises InvalidInput: there is no such connection, or it is of another kind.
    """
    try:
        connection, extra = read_connection(conn_id, BaseHook())
    except (NoConnection, InvalidCredentials) as failure:
        without = f"; for this machine's own credentials write {url.scheme}://{url.host}/..."
        raise InvalidInput(
            f"{name} {written!r}: {str(failure).partition(': add it')[0]}. Add or correct it"
            f"{'' if url.scheme in _SFTP else without}"
        ) from None
    kind = connection.conn_type or ""
    if store and store.connection_types and kind not in store.connection_types | _ANY_TYPE:
        raise InvalidInput(
            f"{name} {written!r}: the connection {conn_id} is of type {kind}, and {url.scheme}:// takes "
            f"{' or '.join(sorted(store.connection_types))}"
        )
    if url.scheme not in _SFTP:
        return {}
    if url.host not in ("", connection.host, f"{connection.host}:{connection.port}"):
        raise InvalidInput(
            f"{name} {written!r}: what follows the @ is a host for {url.scheme}://, and the connection {conn_id} has "
            f"another one. A folder begins with a slash: {url.scheme}://{conn_id}@/folder/file"
        )
    return _sftp_options(extra)


def _sftp_options(extra: Mapping[str, Any]) -> dict[str, Any]:
    """An SSH connection's extra, as the hooks of Airflow's ssh provider read it.

    The filesystem of its sftp provider alone would never check the server's host key, and would take the text of a
    private key for the name of a file, and quote it in its error.
    """
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "keepalive_interval": _KEEPALIVE_SECONDS}
    unchecked = extra.get("no_host_key_check", extra.get("ignore_hostkey_verification"))
    if str(unchecked).lower() == "true":
        options["known_hosts"] = None
    elif host_key := str(extra.get("host_key") or "").split():
        kind_and_key = host_key[:2] if len(host_key) > 1 else ["ssh-rsa", *host_key]
        options["known_hosts"] = f"* {' '.join(kind_and_key)}\n".encode()
    else:
        # Empty: the known_hosts of whoever runs the worker.
        options["known_hosts"] = extra.get("known_hosts") or ()
    if private_key := extra.get("private_key"):
        options["client_keys"] = [str(private_key).encode()]
    if passphrase := extra.get("private_key_passphrase"):
        options["passphrase"] = str(passphrase)
    return options
