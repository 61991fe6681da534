"""What users write reaches WeChat Pay as they wrote it, however their DAG renders templates, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from jinja2 import Undefined

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.conftest import PACKAGE
from tests.integration.conftest import context

NATIVE = pytest.mark.parametrize("native", [False, True], ids=["texts", "native"])


def rendered(kind: type[Any], native: bool, values: dict[str, Any] | None = None, **options: Any) -> Any:
    """An operator whose templates were rendered with some values."""
    with DAG("import_users", schedule=None, render_template_as_native_obj=native):
        task = kind(task_id="task", **options)
    task.render_template_fields(values or {})
    return task


@NATIVE
@pytest.mark.parametrize(
    "written", ["0x84e5", "1_2345", "00123456", "8473295", "1e10", "0b101", "2026.10", "2026_11_23", "True", "'abc'"]
)
def test_a_text_stays_as_it_was_written(native: bool, written: str) -> None:
    export = rendered(
        ExportUsersOperator, native, {"value": written},
        bank_type=written, output_path="/{{ value }}", source="/x", column=written, prefix="{{ value }}",
        wxbank_conn_id=written,
    )  # fmt: skip
    assert (export.bank_type, export.output_path, export.column) == (written, f"/{written}", written)
    assert (export.prefix, export.wxbank_conn_id) == (written, written)
    upload = rendered(
        UploadTaskOperator, native, {"value": written},
        package_id=written, file="/{{ value }}", bank_type="{{ value }}", serial_no=written,
    )  # fmt: skip
    assert (upload.package_id, upload.file) == (written, f"/{written}")
    assert (upload.bank_type, upload.serial_no) == (written, written)
    task_ids = [written, "{{ value }}"]
    sensor = rendered(TaskFinishedSensor, native, {"value": written}, package_id="{{ value }}", task_ids=task_ids)
    assert (sensor.package_id, sensor.task_ids) == (written, [written, written])


def test_lists_and_parameters_are_native_where_the_dag_says_so() -> None:
    values = {"ids": ["101", "102"], "results": {"package_id": PACKAGE, "tasks": []}, "day": 20261123}
    sensor = rendered(TaskFinishedSensor, True, values, package_id=PACKAGE, task_ids="{{ ids }}")
    assert sensor.task_ids == ["101", "102"]
    assert rendered(TaskFinishedSensor, True, values, upload="{{ results }}").upload == values["results"]
    export = rendered(
        ExportUsersOperator, True, values,
        bank_type="ICBC_DEBIT", output_path="/x", sql="SELECT 1", sql_conn_id="bank", parameters={"day": "{{ day }}"},
    )  # fmt: skip
    assert export.parameters == {"day": 20261123}


@NATIVE
@pytest.mark.parametrize("name", ["package_id", "manifest", "bank_type", "serial_no", "wxbank_conn_id"])
@pytest.mark.parametrize(
    ("template", "value", "message"),
    [
        ("{{ value }}", None, "gives None: a task that was skipped"),
        ("/data/{{ value }}/x", None, "gives None"),
        ("{{ value }}", 2026.10, "a number with a fraction"),
        ("{{ value }}", float("nan"), "a number with a fraction"),
        ("{{ value }}", ["/a", "/b"], "gives a list, and takes one text.*expand"),
        ("{{ value }}", {"a": 1}, "gives a dict"),
        ("{{ value }}", {"a"}, "gives a set"),
    ],
)
def test_a_template_that_gives_no_text_is_told(
    native: bool, name: str, template: str, value: object, message: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^{name} has a template that .*{message}"):
        rendered(UploadTaskOperator, native, {"value": value}, **{"package_id": PACKAGE, name: template})


@NATIVE
def test_whole_numbers_in_a_template_are_what_they_are(native: bool) -> None:
    export = rendered(
        ExportUsersOperator, native, {"index": 7}, bank_type="ICBC_DEBIT", output_path="/x/{{ index }}", source="/y"
    )
    assert export.output_path == "/x/7"


@pytest.mark.parametrize("value", [8473295, 2026.10, True, b"8473295"])
def test_a_number_of_another_task_is_no_text(connect: Any, value: object) -> None:
    with pytest.raises(
        InvalidInput, match=f"package_id is of type {type(value).__name__}: it must be a text, in quotes"
    ):
        UploadTaskOperator(task_id="upload", package_id=value, file="/x", bank_type="ICBC_DEBIT").execute(context())  # type: ignore[arg-type]  # what a user may do
    export = ExportUsersOperator(task_id="e", bank_type="ICBC_DEBIT", output_path="/x", source="/y", prefix=value)  # type: ignore[arg-type]  # what a user may do
    with pytest.raises(InvalidInput, match=f"prefix is of type {type(value).__name__}: it must be a text, in quotes"):
        export.execute(context())


@pytest.mark.parametrize("word", ["None", "none", " None ", "nan", "NaN", "NAN"])
@pytest.mark.parametrize("name", ["prefix", "output_path", "source", "wxbank_conn_id", "column"])
def test_the_words_for_nothing_are_no_names(tmp_path: Path, name: str, word: str) -> None:
    options = {"bank_type": "ICBC_DEBIT", "output_path": str(tmp_path), "source": "/y", name: word}
    with pytest.raises(InvalidInput, match=f"{name} is the text '{word.strip()}', which a template makes of nothing"):
        ExportUsersOperator(task_id="export", **options).execute(context())  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "path", ["/data/None", "/data/dt=None/out", "s3://lake@bank/nan/out", "s3://None/x", "s3://None@bank/x"]
)
@pytest.mark.parametrize("name", ["output_path", "source"])
def test_a_part_of_a_path_is_no_word_for_nothing(name: str, path: str) -> None:
    options = {"bank_type": "ICBC_DEBIT", "output_path": "/tmp/out", "source": "/y", name: path}
    with pytest.raises(InvalidInput, match=f"{name} '{path}' has '(None|nan)' in it"):
        ExportUsersOperator(task_id="export", **options).execute(context())  # type: ignore[arg-type]  # by name


def test_names_that_begin_like_nothing_are_names(tmp_path: Path, connect: Any, simulator: Any) -> None:
    connect(simulator)
    source = tmp_path / "nonesuch" / "users.txt"
    source.parent.mkdir()
    source.write_text("202400000000000001\n")
    uri = ExportUsersOperator(
        task_id="export", bank_type="ICBC_DEBIT", output_path=str(tmp_path / "banana"), source=str(source),
        prefix="Nonesuch",
    ).execute(context())  # fmt: skip
    assert uri.startswith(f"{tmp_path}/banana/manifest.json#")


def test_an_empty_template_is_told(tmp_path: Path) -> None:
    with DAG("import_users", schedule=None, template_undefined=Undefined):  # type: ignore[arg-type]  # Airflow's own hint is too narrow
        load = UploadTaskOperator(task_id="upload", package_id="{{ params.missing }}", file="/x", bank_type="A")
    load.render_template_fields({"params": {}})
    with pytest.raises(InvalidInput, match="package_id is empty"):
        load.execute(context())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            UploadTaskOperator(task_id="u", package_id=PACKAGE, manifest=None),
            "give either manifest or file, and not both. Both are None: a task that was skipped",
        ),
        (
            UploadTaskOperator(task_id="u", package_id=None, file="/x", bank_type="ICBC_DEBIT"),  # type: ignore[arg-type]  # what becomes of it
            "package_id is None",
        ),
        (
            ExportUsersOperator(task_id="e", bank_type="ICBC_DEBIT", output_path="/x"),
            "give either sql .* or source, and not both. Both are None",
        ),
        (
            ExportUsersOperator(task_id="e", bank_type="ICBC_DEBIT", output_path=None, source="/x"),  # type: ignore[arg-type]  # what becomes of it
            "output_path is None",
        ),
        (
            ExportUsersOperator(task_id="e", bank_type=None, output_path="/x", source="/x"),  # type: ignore[arg-type]  # what becomes of it
            "bank_type is None",
        ),
        (TaskFinishedSensor(task_id="s"), "give upload, or package_id. Both are None: a task that was skipped"),
    ],
)
def test_what_is_not_given_may_have_become_none(task: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        task.execute(context())


@NATIVE
def test_parameters_of_a_query_keep_their_texts(native: bool) -> None:
    options = {"bank_type": "ICBC_DEBIT", "output_path": "/x", "sql": "SELECT 1", "sql_conn_id": "bank"}
    written = {
        "a": "{{ text }}",
        "b": "2026_11",
        "c": "0x84e5",
        "d": "{{ text }}-{{ number }}",
        "e": 7,
        "f": ["{{ text }}"],
    }
    export = rendered(ExportUsersOperator, native, {"text": "1_2345", "number": 5}, **options, parameters=written)
    assert export.parameters == {
        "a": "1_2345", "b": "2026_11", "c": "0x84e5", "d": "1_2345-5", "e": 7, "f": ["1_2345"],
    }  # fmt: skip


@NATIVE
@pytest.mark.parametrize("given", ["{{ value }}", "x {{ value }}"])
def test_a_query_is_not_asked_with_none(native: bool, given: str) -> None:
    options = {"bank_type": "ICBC_DEBIT", "output_path": "/x", "sql_conn_id": "bank"}
    with pytest.raises(InvalidInput, match=r"parameters\['city'\] has a template that gives None"):
        rendered(ExportUsersOperator, native, {"value": None}, **options, sql="SELECT 1", parameters={"city": given})
    with pytest.raises(InvalidInput, match="sql has a template that gives None"):
        rendered(ExportUsersOperator, native, {"value": None}, **options, sql=f"SELECT '{given}'")


@NATIVE
def test_a_result_that_is_written_out_keeps_its_texts(native: bool) -> None:
    result = {"package_id": "0084732", "tasks": [{"task_id": "101", "filename": "2026_11", "rows": 5}]}
    sensor = rendered(TaskFinishedSensor, native, upload=[result])
    assert sensor.upload == [result]
    # As a task that was deferred is rendered once more on Airflow 2.
    sensor.render_template_fields({})
    assert sensor.upload == [result]


def test_a_template_of_a_result_is_told_in_a_dag_that_renders_texts(connect: Any) -> None:
    sensor = rendered(TaskFinishedSensor, False, {"value": {"package_id": PACKAGE}}, upload="{{ value }}")
    with pytest.raises(InvalidInput, match="upload is a text, not a result .* render_template_as_native_obj=True"):
        sensor.execute(context())


def test_what_another_task_gave_is_no_template() -> None:
    """Airflow says of the values of mapped tasks by their ids that they are not to be rendered."""
    given = "/lake/{{ secret }}.txt"
    with DAG("import_users", schedule=None):
        task = UploadTaskOperator(task_id="task", package_id=PACKAGE, file=given, bank_type="ICBC_DEBIT")
    context = {"secret": "v3ry"}
    task._do_render_template_fields(task, ["file"], context, task.get_template_env(), {id(given)})  # type: ignore[arg-type]
    assert task.file == given
    task._do_render_template_fields(task, ["file"], context, task.get_template_env(), set())  # type: ignore[arg-type]
    assert task.file == "/lake/v3ry.txt"


@pytest.mark.parametrize("prefix", ["run-None", "None.csv", "nan-2026", "a_NaN"])
def test_a_word_for_nothing_in_a_prefix_is_told(tmp_path: Path, prefix: str) -> None:
    export = ExportUsersOperator(
        task_id="e", bank_type="ICBC_DEBIT", output_path=str(tmp_path), source="/y", prefix=prefix
    )
    with pytest.raises(InvalidInput, match=f"prefix '{prefix}' has '(None|nan|NaN)' in it"):
        export.execute(context())
