# SPDX-License-Identifier: Apache-2.0
"""Links from a task to its import on the page "WeChat Pay packages", and to WeChat Pay's merchant platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

from airflow_provider_wxbank._compat import HAS_PAGE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

URL_ROUTE = "wxbank"
"""The page is at ``/plugin/wxbank`` of Airflow, and at ``/wxbank/`` in the frame there."""

MERCHANT_PLATFORM = "https://pay.weixin.qq.com/"
"""The address of the merchant platform: WeChat Pay publishes none for a single package."""


class WxBankImportLink(BaseOperatorLink):
    """A link to the import of the task's DAG run."""

    name = "WeChat Pay import"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address on the page."""
        return import_url(ti_key.dag_id, ti_key.run_id) if page_is_on() else ""


class WxBankMerchantPlatformLink(BaseOperatorLink):
    """A link to WeChat Pay's merchant platform (商户平台), where packages are made and managed."""

    name = "WeChat Pay merchant platform"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address: that of the package, if ``[wxbank] package_url`` says what it looks like."""
        pattern: str = conf.get("wxbank", "package_url", fallback="")
        package_id = package_of(operator)
        if not (pattern and package_id):
            return MERCHANT_PLATFORM
        return pattern.replace("{package_id}", quote(package_id, safe=""))


LINKS = (WxBankImportLink(), WxBankMerchantPlatformLink()) if HAS_PAGE else (WxBankMerchantPlatformLink(),)


def page_is_on() -> bool:
    """Whether Airflow shows the page; ``[wxbank] page = False`` switches it off."""
    return HAS_PAGE and bool(conf.getboolean("wxbank", "page", fallback=True))


def import_url(dag_id: str, run_id: str) -> str:
    """Where the page shows the import of a DAG run."""
    base = conf.get("api", "base_url", fallback="/").rstrip("/")
    # The frame shows the path that follows Airflow's own, and that must have the path of the base URL in it, too.
    path = f"{urlsplit(base).path}/{URL_ROUTE}/import"
    return f"{base}/plugin/{URL_ROUTE}{path}?{urlencode({'dag_id': dag_id, 'run_id': run_id})}"


def package_of(operator: Any) -> str | None:
    """The package of a task with rendered templates, if it has one."""
    package_id = getattr(operator, "package_id", None)
    upload = getattr(operator, "upload", None)
    if package_id is None and isinstance(upload, Mapping):
        package_id = upload.get("package_id")
    return package_id if isinstance(package_id, str) else None
