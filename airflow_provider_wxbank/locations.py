"""Paths as users write them become places to read and write."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput


def location(uri: str | ObjectStoragePath, what: str) -> Location:
    """A local path, or a URL of object storage as Airflow writes it: ``s3://conn_id@bucket/key``.

    :param what: how messages name it.
    :raises InvalidInput: empty, or relative to a folder that nobody can know.
    """
    text = str(uri).strip()
    if not text:
        raise InvalidInput(f"{what} is empty")
    if "://" not in text and not text.startswith("/"):
        raise InvalidInput(f"{what} {text!r} must be an absolute path or a URL like s3://conn_id@bucket/folder")
    path = ObjectStoragePath(text)
    return Location(text, path.fs, path.path)
