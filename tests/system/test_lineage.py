# SPDX-License-Identifier: Apache-2.0
"""A run of the sample DAG as lineage, and as events of an asset: what OpenLineage and Airflow's database have of it."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import openlineage.client.generated
import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.base import BaseFacet
from openlineage.client.serde import Serde

from airflow_provider_wxbank.reporting.openlineage import WxBankCountsRunFacet, counts_facet
from airflow_provider_wxbank.simulator import SimulatorSettings, numbers_digest, serve
from airflow_provider_wxbank.triggers import HAS_WATCHERS
from tests.conftest import PACKAGE
from tests.system.conftest import Airflow, active, connections
from tests.system.conftest import bank as make_bank

ROWS = 200
CAMPAIGN = "wxbank_campaign_on_import"
DAG_ID = "wxbank_export_and_import"

# Two more waits for the same upload tasks: one is mapped, and one fails.
MORE_SENSORS = f"""
    each = TaskFinishedSensor.partial(task_id="each", poke_interval=POLL_SECONDS).expand(package_id=["{PACKAGE}"])
    strict = TaskFinishedSensor(
        task_id="strict", upload=upload.output, poke_interval=POLL_SECONDS, max_fail_ratio=0.0, retries=0
    )
    finished >> each >> strict
"""


class FinishedRun:
    """A run of the sample DAG that is over: what it left behind."""

    def __init__(self, folder: Path, output: str, package: dict[str, Any]) -> None:
        self.folder = folder
        self.output = output
        self.package = package

    @property
    def events(self) -> list[dict[str, Any]]:
        """What OpenLineage's client wrote."""
        return [json.loads(line) for line in (self.folder / "lineage.jsonl").read_text().splitlines()]

    def event(self, kind: str, task_id: str) -> dict[str, Any]:
        """The last event of a task and a kind."""
        return [one for one in self.events if (one["eventType"], one["job"]["name"]) == (kind, f"{DAG_ID}.{task_id}")][
            -1
        ]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What Airflow's database has."""
        with closing(sqlite3.connect(self.folder / "home" / "airflow.db")) as database:
            return database.execute(query).fetchall()

    @property
    def export(self) -> str:
        """The folder of the export."""
        (folder,) = (self.folder / "out").iterdir()
        return str(folder)


@pytest.fixture(scope="module")
def finished(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedRun]:
    """The sample DAG with two more sensors was run; the campaign's DAG is known to Airflow."""
    folder = tmp_path_factory.mktemp("lineage")
    shutil.copytree(migrated, folder / "home")
    bank = make_bank(folder / "bank.db", ROWS)
    with serve(SimulatorSettings(processing_seconds=1.0, unmatched_ratio=0.2)) as simulator:
        airflow = Airflow(folder / "home", connections(simulator, bank))
        airflow.env |= {
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(folder / "lineage.jsonl"), "append": True}
            ),
        }
        airflow.add_dag(f"{DAG_ID}.py", lambda text: text + MORE_SENSORS)
        airflow.add_dag(f"{CAMPAIGN}.py")
        if not HAS_WATCHERS:
            # Airflow 2 does not save in `dags test` what it reads.
            assert airflow.command("dags", "reserialize")[0] == 0
        code, output = airflow.test_dag(DAG_ID, package_id=PACKAGE, output=str(folder / "out"))
        assert code == 1, output[-5000:]
        yield FinishedRun(folder, output, simulator.report()["packages"][PACKAGE])


def facet_classes() -> dict[str, Any]:
    """Every kind of facet that OpenLineage's client and this package have, by its schema."""
    modules = [
        importlib.import_module(f"openlineage.client.generated.{module.name}")
        for module in pkgutil.iter_modules(openlineage.client.generated.__path__)
    ]
    found: list[Any] = [
        one
        for module in modules
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, BaseFacet)
    ]
    return {one._get_schema(): one for one in [*found, WxBankCountsRunFacet]}


def as_model(event: dict[str, Any]) -> RunEvent:
    """An event, made anew of the classes of OpenLineage's client, which refuse what they do not know."""
    classes = facet_classes()

    def facets(given: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for name, facet in given.items():
            fields = {key: value for key, value in facet.items() if key not in ("_producer", "_schemaURL")}
            made[name] = classes[facet["_schemaURL"]](**fields, producer=facet["_producer"])
        return made

    def dataset(kind: Any, given: dict[str, Any], own: str) -> Any:
        return kind(
            given["namespace"], given["name"], facets=facets(given["facets"]), **{own: facets(given.get(own, {}))}
        )

    return RunEvent(
        eventTime=event["eventTime"],
        eventType=RunState(event["eventType"]),
        producer=event["producer"],
        run=Run(event["run"]["runId"], facets(event["run"]["facets"])),
        job=Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"]["facets"])),
        inputs=[dataset(InputDataset, one, "inputFacets") for one in event["inputs"]],
        outputs=[dataset(OutputDataset, one, "outputFacets") for one in event["outputs"]],
    )


def test_every_event_is_what_the_models_of_openlineage_say(finished: FinishedRun) -> None:
    for event in finished.events:
        for facets in (event["run"]["facets"], event["job"]["facets"]):
            # Airflow's own, which it declares nowhere.
            for name in [name for name in facets if name.startswith("airflow")]:
                del facets[name]
        assert Serde.to_dict(as_model(event)) == event
    kinds = {(event["eventType"], event["job"]["name"].removeprefix(f"{DAG_ID}.")) for event in finished.events}
    tasks = ("export_users", "upload", "finished", "each")
    assert kinds >= {(kind, task_id) for kind in ("START", "COMPLETE") for task_id in tasks}
    assert kinds >= {("START", "strict"), ("FAIL", "strict")}


def test_the_export_is_a_folder_made_of_a_table(finished: FinishedRun) -> None:
    for kind in ("START", "COMPLETE"):
        event = finished.event(kind, "export_users")
        (table,), (folder,) = event["inputs"], event["outputs"]
        assert (table["namespace"], table["name"]) == ("sqlite", f"{finished.folder}/bank.db.users")
        assert (folder["namespace"], folder["name"]) == ("file", finished.export)
        assert "SELECT agreement_no FROM users" in event["job"]["facets"]["sql"]["query"]
    statistics = folder["outputFacets"]["outputStatistics"]
    size = sum(file.stat().st_size for file in Path(finished.export).glob("*.csv"))
    assert (statistics["rowCount"], statistics["fileCount"], statistics["size"]) == (len(active(ROWS)), 1, size)


def test_the_folder_goes_into_the_package_with_the_counts(finished: FinishedRun) -> None:
    numbers = len(active(ROWS))
    matched = sum(task["success_count"] for task in finished.package["tasks"])
    assert finished.package["numbers_digest"] == numbers_digest(active(ROWS))
    assert 0 < matched < numbers
    upload = finished.event("COMPLETE", "upload")
    assert [(one["namespace"], one["name"]) for one in upload["inputs"]] == [("file", finished.export)]
    expected = {"upload": {"numbers": numbers, "files": 1}, "export_users": {"skippedRows": 0}}
    counts = {"numbers": numbers, "files": 1, "successCount": matched, "failCount": numbers - matched}
    # One of the waits was not given the upload, and does not know its rows.
    unaccounted = {"finished": 0, "strict": 0}
    for kind, task_id in (("COMPLETE", "finished"), ("COMPLETE", "each"), ("FAIL", "strict"), ("COMPLETE", "upload")):
        event = finished.event(kind, task_id)
        (package,) = event["outputs"]
        assert (package["namespace"], package["name"]) == ("wxbank://api.mch.weixin.qq.com", PACKAGE)
        facet = event["run"]["facets"]["wxbank_counts"]
        assert facet.items() >= expected.get(task_id, counts).items()
        assert facet.get("unaccounted") == unaccounted.get(task_id)
    assert "wxbank_counts" not in finished.event("START", "finished")["run"]["facets"]
    assert "max_fail_ratio allows" in finished.event("FAIL", "strict")["run"]["facets"]["errorMessage"]["message"]


def test_our_facet_is_what_its_schema_says(finished: FinishedRun) -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs" / "WxBankCountsRunFacet.json").read_text("utf-8"))
    assert schema["$id"] == WxBankCountsRunFacet._get_schema()
    ours = [facet for event in finished.events if (facet := event["run"]["facets"].get("wxbank_counts"))]
    assert len(ours) == 5
    for facet in ours:
        jsonschema.validate(facet, schema)
    with_receipt = Serde.to_dict(counts_facet(20, 1, unaccounted=0, receiptSha256="0f" * 32))
    jsonschema.validate(with_receipt, schema)
    for damaged in ({"receiptSha256": "no digest"}, {"unaccounted": -1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**with_receipt, **damaged}, schema)


def test_lineage_has_no_number_and_no_secret(finished: FinishedRun) -> None:
    text = (finished.folder / "lineage.jsonl").read_text()
    assert not re.search(r"2024\d{14}", text)
    assert "PRIVATE KEY" not in text
    assert "password" not in text


def test_a_finished_import_is_one_event_of_its_package(finished: FinishedRun) -> None:
    word = "asset" if HAS_WATCHERS else "dataset"
    events = finished.rows(
        f"SELECT uri, source_task_id, source_map_index, {word}_event.extra FROM {word}_event "
        f"JOIN {word} ON {word}.id = {word}_id ORDER BY timestamp"
    )
    # The third sensor failed, and is none.
    assert [event[:3] for event in events] == [
        (f"wxbank://{PACKAGE}", "finished", -1),
        (f"wxbank://{PACKAGE}", "each", 0),
    ]
    (task,) = finished.package["tasks"]
    for event in events:
        assert (
            json.loads(event[3]).items()
            >= {
                "package_id": PACKAGE,
                "tasks": 1,
                "success_count": task["success_count"],
                "fail_count": task["fail_count"],
            }.items()
        )
    # The scheduler makes runs of what is queued here.
    assert finished.rows(f"SELECT target_dag_id FROM {word}_dag_run_queue") == [(CAMPAIGN,)]
