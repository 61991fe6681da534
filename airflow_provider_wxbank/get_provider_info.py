# SPDX-License-Identifier: Apache-2.0
"""What Airflow is told about this package. Imports no other package, since every ``airflow`` command reads it."""

from __future__ import annotations

from typing import Any

from airflow_provider_wxbank import __version__

_MODULE = "airflow_provider_wxbank"
_INTEGRATION = "WeChat Pay"

PLACEHOLDERS = {
    "login": "1900000001",
    "password": "32 characters; leave empty in public-key mode",
    "host": "https://api.mch.weixin.qq.com",
    "port": "443; the test button of Airflow 3.3 needs it",
    "merchant_serial_no": "40 hexadecimal digits",
    "merchant_private_key": "-----BEGIN PRIVATE KEY-----",
    "wechatpay_public_key": "-----BEGIN PUBLIC KEY-----",
    "wechatpay_public_key_id": "PUB_KEY_ID_0119000000012026010100000000000001",
}

LABELS = {"login": "Merchant id (mchid)", "password": "APIv3 key", "host": "Base URL"}

# Not the port: the test button of Airflow 3.3 sends 0 for an empty one, and Airflow refuses that.
HIDDEN_FIELDS = ["schema"]

ASSET_URIS = [
    {
        "schemes": ["wxbank"],
        "handler": f"{_MODULE}.assets.sanitize_uri",
        "factory": f"{_MODULE}.assets.number_package",
        "to_openlineage_converter": f"{_MODULE}.assets.convert_asset_to_openlineage",
    }
]

# The name, the label, the kind of its field, and the help text.
FIELDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "merchant_serial_no",
        "Merchant certificate serial",
        "string",
        "Serial number of the merchant's API certificate (商户API证书序列号): 40 hexadecimal digits",
    ),
    (
        "merchant_private_key",
        "Merchant private key",
        "multiline",
        "The whole text of apiclient_key.pem, first and last line included; or name its file below",
    ),
    (
        "merchant_private_key_file",
        "Merchant private key file",
        "string",
        "Path of apiclient_key.pem on every worker and triggerer, instead of its text",
    ),
    (
        "merchant_private_key_uri",
        "Merchant private key URI",
        "string",
        "A key that stays in an HSM: pkcs11:token=...;object=...?module-path=... (RFC 7512), instead of its text",
    ),
    (
        "merchant_private_key_pin",
        "Merchant private key PIN",
        "password",
        "Of the HSM's user, unless the URI names its file by pin-source",
    ),
    (
        "wechatpay_public_key",
        "WeChat Pay public key",
        "multiline",
        "The whole text of pub_key.pem (微信支付公钥), first and last line included; empty in certificate mode",
    ),
    (
        "wechatpay_public_key_file",
        "WeChat Pay public key file",
        "string",
        "Path of pub_key.pem on every worker and triggerer, instead of its text",
    ),
    ("wechatpay_public_key_id", "WeChat Pay public key id", "string", "PUB_KEY_ID_ and digits (微信支付公钥ID)"),
    (
        "wechatpay_root_certificate",
        "WeChat Pay root certificate",
        "multiline",
        "PEM of the root that signs platform certificates; empty for Tenpay.com Root CA with WeChat Pay's own host",
    ),
    (
        "wechatpay_root_certificate_file",
        "WeChat Pay root certificate file",
        "string",
        "Path of that PEM on every worker and triggerer, instead of its text",
    ),
    (
        "backup_host",
        "Backup base URL",
        "string",
        "Asked after a timeout; empty for https://api2.mch.weixin.qq.com with WeChat Pay's own host",
    ),
    ("connect_timeout", "Connect timeout", "number", "Seconds; default 5, at most 600"),
    ("read_timeout", "Read timeout", "number", "Seconds without a byte; default 30, at most 600"),
    ("proxies", "Proxy", "string", "URL of a proxy, http://proxy:3128; empty for the environment's"),
    (
        "naming_secret",
        "Naming secret",
        "string",
        "32 characters or more that key filenames and manifests; may stay empty if the private key is an RSA key",
    ),
    ("daily_file_quota", "Files a day", "number", "What WeChat Pay takes of the merchant in a day; default 6000"),
)


CONFIG: dict[str, Any] = {
    "wxbank": {
        "description": "The page WeChat Pay packages and the links of tasks.",
        "options": {
            "page": {
                "description": "Whether there is the page, and links to it.",
                "version_added": "1.0.0",
                "type": "boolean",
                "example": None,
                "default": "True",
            },
            "package_url": {
                "description": "The address of a package in the merchant platform, with {package_id} in it.",
                "version_added": "1.0.0",
                "type": "string",
                "example": "https://example.com/packages/{package_id}",
                "default": "",
            },
            "docs_url": {
                "description": "Where these docs are for your users: the page links from a failure to what they say.",
                "version_added": "1.0.0",
                "type": "string",
                "example": "https://docs.example.com/wxbank/",
                "default": "",
            },
        },
    }
}


def get_provider_info() -> dict[str, Any]:
    """Metadata in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": "airflow-provider-wxbank",
        "name": "WeChat Pay number packages for banks",
        "description": (
            "Exports agreement numbers (快捷交易协议号), encrypts them, uploads them into WeChat Pay number "
            "packages (号码包), and waits until they are processed."
        ),
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://pay.weixin.qq.com/doc/v3/merchant/4012466728",
                # Paths in the repository, in the form of Airflow's own providers.
                "logo": "/docs/integration-logos/wxbank.svg",
                "how-to-guide": [f"/docs/{page}.md" for page in ("connection", "database", "upload", "wait", "large")],
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": [f"{_MODULE}.hooks"]}],
        "operators": [{"integration-name": _INTEGRATION, "python-modules": [f"{_MODULE}.operators"]}],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": [f"{_MODULE}.sensors"]}],
        "triggers": [{"integration-name": _INTEGRATION, "python-modules": [f"{_MODULE}.triggers"]}],
        "extra-links": [
            f"{_MODULE}.links.WxBankImportLink",
            f"{_MODULE}.links.WxBankMerchantPlatformLink",
        ],
        # Airflow 3.2 and later.
        "cli": [f"{_MODULE}.cli.definition.get_cli_commands"],
        "asset-uris": ASSET_URIS,
        "dataset-uris": ASSET_URIS,  # what Airflow 2 calls them
        "config": CONFIG,
        "connection-types": [
            {
                "connection-type": "wxbank",
                "hook-class-name": f"{_MODULE}.hooks.WxBankHook",
                "hook-name": "WeChat Pay number packages",
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": LABELS,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": {
                    name: {"label": label, "description": help_text, "schema": _schema(kind)}
                    for name, label, kind, help_text in FIELDS
                },
            }
        ],
    }


def _schema(kind: str) -> dict[str, Any]:
    if kind == "number":
        return {"type": ["number", "null"], "default": None}
    schema: dict[str, Any] = {"type": ["string", "null"], "default": None}
    return {**schema, "format": kind} if kind in ("multiline", "password") else schema
