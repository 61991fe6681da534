# SPDX-License-Identifier: Apache-2.0
"""A SeaweedFS on loopback: an S3 server that comes as a Python package."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.ports import free_ports
from tests.harness.waiting import PATIENCE

BUCKET = "bank"

READER = "throwaway-reader"
"""An account with the same password that may not write."""

_ACTIONS = (("Admin", "Read", "Write", "List", "Tagging"), ("Read", "List"))

_SERVERS = ("master", "volume", "filer", "s3")


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, Any]]:
    """An S3 server with a bucket, killed at the end; the Airflow connection to it.

    :param folder: where it keeps its files and its log.
    """
    folder.mkdir(exist_ok=True)
    ports = iter(free_ports(2 * len(_SERVERS)))
    options = {f"-{server}.{kind}": next(ports) for server in _SERVERS for kind in ("port", "port.grpc")}
    connection = {
        "conn_type": "aws",
        "login": "throwaway",
        "password": "throwaway-too",
        "extra": {"endpoint_url": f"http://127.0.0.1:{options['-s3.port']}", "region_name": "us-east-1"},
    }
    identities = [
        {"name": login, "credentials": [{"accessKey": login, "secretKey": connection["password"]}], "actions": actions}
        for login, actions in zip((connection["login"], READER), _ACTIONS, strict=True)
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    command = [
        str(Path(sys.executable).with_name("weed")),
        *("server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={folder}/s3.json"),
        *("-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-volume.max=40"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-iam=false"),
        *(f"{name}={port}" for name, port in options.items()),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _make_bucket(connection, process, folder / "log")
            yield connection
        finally:
            # What it holds is thrown away, so it need not take its time.
            process.kill()
            process.wait()


def _make_bucket(connection: dict[str, Any], process: subprocess.Popen[bytes], log: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", **connection["extra"], aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
        config=Config(retries={"max_attempts": 1}, connect_timeout=10, read_timeout=60),
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()[-2000:]) from None
            time.sleep(0.2)
        else:
            return
        finally:
            client.close()
