# SPDX-License-Identifier: Apache-2.0
"""A folder with the keys of a simulator: in the files that WeChat Pay hands out, for any SDK, and used again.

``simulator.json`` has all of them, those of WeChat Pay's side, too; the other files are written from it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.simulator.pem import pem
from airflow_provider_wxbank.simulator.platform import PUBLIC_KEY_ID, PlatformKeys, Root, SigningKey
from airflow_provider_wxbank.simulator.settings import SuiteName
from airflow_provider_wxbank.simulator.suites import SUITES, Key, Suite

STATE = "simulator.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class MerchantKeys:
    """What a merchant has.

    :param certificate: PEM of ``apiclient_cert.pem``.
    """

    mchid: str
    apiv3_key: str = field(repr=False)
    key: Key = field(repr=False)
    serial_no: str
    certificate: str = field(repr=False)


def read_keys(folder: Path, suite: SuiteName) -> tuple[MerchantKeys, PlatformKeys] | None:
    """The keys in a folder; None if there are none yet.

    :raises ValueError: they are of another suite, or damaged.
    :raises OSError: the file cannot be read.
    """
    path = folder / STATE
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{path} is damaged: use another folder, or remove it") from None
    made_for = state.get("suite") if isinstance(state, dict) else None
    if made_for != suite:
        raise ValueError(f"{path} has keys of the suite {made_for}, not {suite}: use another folder")
    try:
        return _merchant(state, SUITES[suite]), _platform(state, SUITES[suite])
    except (KeyError, TypeError, ValueError) as failure:
        raise ValueError(f"{path} is damaged ({type(failure).__name__}): use another folder, or remove it") from None


def write_keys(folder: Path, suite: SuiteName, merchant: MerchantKeys, platform: PlatformKeys) -> None:
    """Keep keys in a folder, readable by its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = {
        "version": VERSION,
        "suite": suite,
        "mchid": merchant.mchid,
        "apiv3_key": merchant.apiv3_key,
        "merchant": [_private(merchant.key), merchant.serial_no, merchant.certificate],
        "root": [_private(platform.root.key), platform.root.certificate],
        "public_key": _private(platform.public_key.private_key),
        "certificates": [
            [one.serial_no, _private(one.private_key), one.certificate.decode(), one.effective, one.expires]
            for one in platform.certificates
        ],
    }
    files = {
        STATE: json.dumps(state, indent=1),
        "apiclient_key.pem": _private(merchant.key),
        "apiclient_cert.pem": merchant.certificate,
        "pub_key.pem": pem("PUBLIC KEY", platform.public_key.private_key.public_der),
        "root.pem": platform.root.certificate,
        "mchid.txt": merchant.mchid,
        "merchant_serial_no.txt": merchant.serial_no,
        "apiv3_key.txt": merchant.apiv3_key,
        "pub_key_id.txt": platform.public_key.serial_no,
        **{f"wechatpay_{one.serial_no}.pem": one.certificate.decode() for one in platform.certificates},
    }
    for stale in set(folder.glob("wechatpay_*.pem")) - {folder / name for name in files}:
        stale.unlink()
    for name, text in files.items():
        write_private(folder / name, text)


def write_private(path: Path, text: str) -> None:
    """Write a file whole, and readable by its owner only."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(temporary).replace(path)


def _merchant(state: dict[str, Any], suite: Suite) -> MerchantKeys:
    key, serial_no, certificate = state["merchant"]
    return MerchantKeys(state["mchid"], state["apiv3_key"], suite.read_key(key), serial_no, certificate)


def _platform(state: dict[str, Any], suite: Suite) -> PlatformKeys:
    key, certificate = state["root"]
    return PlatformKeys(
        Root(suite, suite.read_key(key), certificate),
        tuple(
            SigningKey(serial_no, suite.read_key(private), text.encode(), float(effective), float(expires))
            for serial_no, private, text, effective, expires in state["certificates"]
        ),
        SigningKey(PUBLIC_KEY_ID, suite.read_key(state["public_key"])),
    )


def _private(key: Key) -> str:
    return pem("PRIVATE KEY", key.der)
