# SPDX-License-Identifier: Apache-2.0
"""Prepare a campaign as soon as an import into its number package (号码包) has finished.

The DAG is scheduled on two packages:

* the package that ``wxbank_export_and_import`` fills: the success of its task ``finished`` is an event of the asset
  ``wxbank://PACKAGE_ID``;
* a package that somebody else fills, for example an agency. A watcher in the triggerer raises the event when everything
  in it is finished. Watchers need Airflow 3; on Airflow 2 the DAG is scheduled on the first package only.

Each event carries the counts of its import. The task checks how many numbers matched, and returns what the campaign may
use. Replace it with the code that creates your campaign.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, Param, task

from airflow_provider_wxbank.assets import finished_imports, number_package, watched_number_package
from airflow_provider_wxbank.triggers import HAS_WATCHERS

log = logging.getLogger(__name__)

PACKAGE_ID = os.environ.get("WXBANK_PACKAGE_ID", "8473295")
WATCHED_PACKAGE_ID = os.environ.get("WXBANK_WATCHED_PACKAGE_ID", "8473296")
# WeChat Pay takes about 40 minutes for a file, so once a minute is often enough; the simulator is quicker.
POLL_SECONDS = float(os.environ.get("WXBANK_POLL_SECONDS", "60"))

schedule: Any = number_package(PACKAGE_ID)
if HAS_WATCHERS:
    schedule = schedule | watched_number_package(WATCHED_PACKAGE_ID, POLL_SECONDS)

with DAG(
    dag_id="wxbank_campaign_on_import",
    schedule=schedule,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "min_match_rate": Param(
            0.5, type="number", minimum=0, maximum=1, description="Share of the numbers that must match"
        )
    },
    tags=["wxbank"],
    doc_md=__doc__,
) as dag:

    @task
    def prepare_campaign(**context: Any) -> list[dict[str, Any]]:
        """What the campaign may use: the package, the number of matched users, and the match rate of each import."""
        imports = finished_imports(context)  # type: ignore[arg-type]  # Airflow passes its context as arguments
        if not imports:
            raise AirflowSkipException("No import triggered this run")
        usable = []
        for imported in imports:
            package_id, matched = imported["package_id"], imported["success_count"]
            rate = matched / max(matched + imported["fail_count"], 1)
            log.info("Package %s: %d numbers matched (%.1f %%)", package_id, matched, 100 * rate)
            if rate < context["params"]["min_match_rate"]:
                raise AirflowFailException(
                    f"Only {rate:.1%} of the numbers in the import into package {package_id} matched: check the bank "
                    "type and the key before a campaign is created"
                )
            usable.append({"package_id": package_id, "users": imported["success_user_count"], "match_rate": rate})
        return usable

    prepare_campaign()
