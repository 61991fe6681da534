# SPDX-License-Identifier: Apache-2.0
"""What users write reaches WeChat Pay as they wrote it, however their DAG renders templates, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath
from jinja2 import Undefined

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.parameters import check_nothing_inside, location
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, numbers

NATIVE = pytest.mark.parametrize("native", [False, True], ids=["texts", "native"])


REQUIRED: dict[Any, dict[str, str]] = {
    ExportUsersOperator: {"bank_type": "ICBC_DEBIT", "output_path": "/x"},
    UploadTaskOperator: {"package_id": PACKAGE},
}


class Pair(NamedTuple):
    text: str
    number: int


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


@pytest.mark.parametrize(
    "path",
    ["/data/he-nan/out", "/data/hu_nan/out", "s3://lake@bank/nan-jing/out", "s3://hai-nan@bank/out", "/data/none/out"],
)
def test_names_of_places_are_names(path: str) -> None:
    check_nothing_inside(path, "output_path")


@NATIVE
@pytest.mark.parametrize("value", ["", Undefined(name="campaign")])
@pytest.mark.parametrize(
    ("kind", "name", "written"),
    [
        (ExportUsersOperator, "source", "/lists/{{ value }}"),
        (ExportUsersOperator, "output_path", "/out/{{ value }}/x"),
        (ExportUsersOperator, "prefix", "camp-{{ value }}"),
        (UploadTaskOperator, "package_id", "8473{{ value }}"),
        (UploadTaskOperator, "file", "/lists/{{ value }}"),
    ],
)
def test_a_part_that_is_missing_does_not_name_something_else(
    native: bool, value: object, kind: type[Any], name: str, written: str
) -> None:
    """A path without its last part is a folder with the lists of all campaigns."""
    with pytest.raises(InvalidInput, match=f"{name} has a template that gives (an empty text|something that is not)"):
        rendered(kind, native, {"value": value}, **{**REQUIRED[kind], name: written})


def test_a_part_may_be_left_out_on_purpose() -> None:
    written = "/lists/{% if value %}{{ value }}/{% endif %}users.csv"
    assert (
        rendered(UploadTaskOperator, False, {"value": ""}, package_id=PACKAGE, file=written).file == "/lists/users.csv"
    )


@NATIVE
def test_a_tuple_of_a_query_stays_one(native: bool) -> None:
    given = {"ids": (1, 2), "cities": ["{{ value }}"], "set": {"0x1"}, "pair": Pair("{{ value }}", 2)}
    made = rendered(
        ExportUsersOperator, native, {"value": "0x84e5"}, **REQUIRED[ExportUsersOperator], parameters=given
    ).parameters
    assert made == {"ids": (1, 2), "cities": ["0x84e5"], "set": {"0x1"}, "pair": Pair("0x84e5", 2)}
    assert [type(value) for value in made.values()] == [tuple, list, set, Pair]


@pytest.mark.parametrize("path", ["file://exports/run1", "exports/run1", "abc://bank/x"])
def test_a_path_that_leads_nowhere_is_told(path: str) -> None:
    with pytest.raises(InvalidInput, match="must be an absolute path|nothing here reads abc://"):
        location(path, "output_path")


def test_paths_may_be_objects(connect: Any, simulator: Any, tmp_path: Path) -> None:
    connect(simulator)
    (tmp_path / "users.csv").write_text("\n".join(numbers(3)))
    export = ExportUsersOperator(
        task_id="export", bank_type="ICBC_DEBIT", output_path=tmp_path / "out",  # type: ignore[arg-type]  # people do
        source=ObjectStoragePath(str(tmp_path / "users.csv")),  # type: ignore[arg-type]  # likewise
    )  # fmt: skip
    manifest = Path(export.execute(context()).partition("#")[0])
    for given in ({"manifest": manifest}, {"file": tmp_path / "users.csv", "bank_type": "ICBC_DEBIT"}):
        task = UploadTaskOperator(task_id="upload", package_id=PACKAGE, **given)
        assert task.execute(context())["rows"] == 3


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TaskFinishedSensor(task_id="s", upload=5), "upload is of type int, not a result"),  # type: ignore[arg-type]  # what a task gave
        (
            TaskFinishedSensor(task_id="s", package_id=PACKAGE, task_ids={"package_id": PACKAGE, "tasks": []}),  # type: ignore[arg-type]  # likewise
            "task_ids is a mapping, not a list: the result of an UploadTaskOperator goes into upload",
        ),
        (
            TaskFinishedSensor(task_id="s", upload={"package_id": PACKAGE, "tasks": [{"task_id": None}]}),
            r"upload's task_ids\[0\] is None",
        ),
        (
            TaskFinishedSensor(task_id="s", upload={"package_id": PACKAGE, "tasks": [{"task_id": []}]}),
            r"upload's task_ids\[0\] is of type list",
        ),
        (
            TaskFinishedSensor(task_id="s", package_id=PACKAGE, max_fail_ratio="0.1"),  # type: ignore[arg-type]  # likewise
            "max_fail_ratio must be 0 to 1, not '0.1'",
        ),
        (
            UploadTaskOperator(task_id="u", package_id=PACKAGE, manifest="/x", max_workers="8"),  # type: ignore[arg-type]  # likewise
            "max_workers must be 1 to 64, not '8'",
        ),
        (
            ExportUsersOperator(
                task_id="e", bank_type="A", output_path="/x", sql="x", sql_conn_id="b", parameters="a=1",  # type: ignore[arg-type]  # likewise
            ),
            "parameters is of type str: it must be a mapping",
        ),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_told(task: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        task.execute(context())


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
def test_a_layout_may_come_from_templates(native: bool) -> None:
    """A name of digits is a number in either kind of DAG, and a delimiter that Python would read stays as it is."""
    export = rendered(
        ExportUsersOperator, native, {"no": 2, "rows": 20, "mark": "0x7c"}, bank_type="ICBC_DEBIT", output_path="/x",
        source="/y", column="{{ no }}", expected_rows="{{ rows }}",
        dialect={"delimiter": "{{ mark }}|", "quotechar": None, "header": False, "skip_rows": 1, "encoding": "utf-8"},
    )  # fmt: skip
    assert (export.column, export.expected_rows) == ("2", "20")
    assert export.dialect == {
        "delimiter": "0x7c|", "quotechar": None, "header": False, "skip_rows": 1, "encoding": "utf-8",
    }  # fmt: skip
    export.check_texts()


@pytest.mark.parametrize("column", [2, (1, 18), [1, 18]])
def test_a_column_that_is_no_text_stays_what_it_is(column: object) -> None:
    export = rendered(ExportUsersOperator, True, None, **REQUIRED[ExportUsersOperator], column=column, expected_rows=5)
    export.check_texts()
    assert (export.column, export.expected_rows) == (column, 5)


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
