# SPDX-License-Identifier: Apache-2.0
"""What the documentation says exists."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_wxbank
from airflow_provider_wxbank.get_provider_info import FIELDS
from airflow_provider_wxbank.simulator.__main__ import _parser
from airflow_provider_wxbank.simulator.faults import KINDS
from airflow_provider_wxbank.wechatpay import errors
from tests.harness.pages import PAGES, ROOT, anchors, blocks, links, named

PACKAGE = Path(airflow_provider_wxbank.__file__).parent


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
in_both_languages = pytest.mark.parametrize("docs", ["docs", "docs/zh"])


@by_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path} does not exist"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {path} has no heading #{anchor}"


def test_every_page_is_in_the_contents() -> None:
    listed = {name for block in blocks(ROOT / "docs/index.md", "{toctree}") for name in block.code.split("\n")}
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages - listed == {"index"}


@by_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    code = [*named(page), *(block.code for block in blocks(page))]
    for line in "\n".join(code).splitlines():
        if made := re.match(r"(?:\$ )?make ((?:[\w=.-]+ ?)+)", line):
            assert {word for word in made[1].split() if "=" not in word} <= targets, line


def test_the_readme_has_one_dag_with_the_three_tasks_in_a_row() -> None:
    from airflow.providers.common.compat.sdk import DAG

    namespace: dict[str, Any] = {}
    (block,) = blocks(ROOT / "README.md", "python")
    with DAG("outer", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        exec(block.code, namespace)
    dag = namespace["export"].dag
    assert dag.dag_id == "import_users"
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "export_users": {"upload"},
        "upload": {"finished"},
        "finished": set(),
    }


def test_connections_in_examples_have_known_fields() -> None:
    examples = [json.loads(block.code) for block in blocks(ROOT / "docs/connection.md", "json")]
    assert examples
    for example in examples:
        assert set(example) <= {"conn_type", "login", "password", "host", "extra"}
        assert example["conn_type"] == "wxbank"
        assert set(example["extra"]) <= {name for name, *_ in FIELDS}


@in_both_languages
def test_every_field_of_a_connection_is_described(docs: str) -> None:
    assert {name for name, *_ in FIELDS} <= named(f"{docs}/connection.md")


@in_both_languages
def test_every_error_is_described(docs: str) -> None:
    classes = {
        name for name, one in vars(errors).items() if isinstance(one, type) and one.__module__ == errors.__name__
    }
    assert classes - named(f"{docs}/errors.md") == set()
    assert {f"{errors.__name__}.{name}" for name in classes} <= public_names()


@in_both_languages
def test_every_code_of_wechat_pay_is_described(docs: str) -> None:
    """Those that the client tells apart, and those that the simulator answers."""
    source = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    codes = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', source)) - {"GET", "POST"}
    known = {code for code in codes if re.search(r"(ERROR|AUTH|EXISTS|ENOUGH|REQUEST|ALLOWED|LIMIT\w*)$", code)}
    assert {"PARAM_ERROR", "SIGN_ERROR", "NO_AUTH", "RESOURCE_NOT_EXISTS"} <= known
    assert known - named(f"{docs}/errors.md") == set()


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("errors", "the message has"),
        ("production", "line"),
        ("zh/errors", "错误信息中有"),
        ("zh/production", "日志行"),
    ],
    ids=["errors", "production", "zh/errors", "zh/production"],
)
def test_every_message_that_is_explained_is_one(page: str, heading: str) -> None:
    """So that a reader who searches for a message at night finds it."""
    constants = "\n".join(
        node.value if isinstance(node.value, str) else ""
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
    )
    table = read(f"docs/{page}.md").partition(f"| {heading} |")[2].partition("\n\n")[0]
    messages = [text for row in table.splitlines()[2:] for text in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(messages) > 10
    assert [text for text in messages if text not in constants] == []


def public_names() -> set[str]:
    """What the reference lists, by its full name."""
    text = read("docs/reference.md")
    names = set(re.findall(r"^\.\. auto(?:class|function|data):: (\S+)$", text, re.MULTILINE))
    for module, members in re.findall(r"^\.\. automodule:: (\S+)\n   :members: (.*(?:\n {6}.*)*)$", text, re.MULTILINE):
        names |= {f"{module}.{name}" for name in members.replace(",", " ").split()}
    return names


def test_everything_in_the_reference_can_be_imported() -> None:
    names = public_names()
    assert {"airflow_provider_wxbank.operators.UploadTaskOperator", f"{errors.__name__}.TryLater"} <= names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


def test_the_chinese_reference_names_everything_that_the_english_one_describes() -> None:
    assert {name.rpartition(".")[2] for name in public_names()} - named("docs/zh/reference.md") == set()


def test_examples_import_only_what_the_reference_lists() -> None:
    """So that a reader who copies one depends on nothing that may change at any time."""
    sources = [block.code for page in PAGES for block in blocks(page, "python")]
    sources += [path.read_text("utf-8") for path in (ROOT / "dags").glob("*.py")]
    imports = re.findall(r"^ *from (airflow_provider_wxbank[\w.]*) import ([\w, ]+)$", "\n".join(sources), re.MULTILINE)
    imported = {f"{module}.{name}" for module, names in imports for name in names.split(", ")}
    assert len(imported) > 5
    assert imported - public_names() == set()


@in_both_languages
def test_every_option_and_fault_of_the_simulator_is_described(docs: str) -> None:
    options = {option for action in _parser()._actions for option in action.option_strings if option.startswith("--")}
    assert options - {"--help"} - named(f"{docs}/simulator.md") == set()
    assert set(KINDS) - named(f"{docs}/simulator.md") == set()


def test_every_command_option_and_exit_code_is_described() -> None:
    from airflow_provider_wxbank.__main__ import parser
    from airflow_provider_wxbank.cli.command import Exit

    page = read("docs/command-line.md")
    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    options = {
        option
        for name, command in commands.items()
        if name != "simulate"  # its own page has them
        for action in command._actions
        for option in action.option_strings
    }
    assert options - {"-h", "--help"} - named("docs/command-line.md") == set()
    assert {f"## {name}" for name in commands} <= set(page.splitlines())
    assert {str(int(code)) for code in Exit} == set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))


def test_every_module_has_a_line_in_the_layout() -> None:
    (layout,) = blocks(ROOT / "CONTRIBUTING.md", "text")
    lines = re.findall(r"^( +)(\S+)(?= )", layout.code, re.MULTILINE)
    folders: list[str] = []
    listed = set()
    for indent, name in lines:
        del folders[len(indent) // 2 - 1 :]
        if name.endswith("/"):
            folders.append(name)
        elif name.endswith(".py"):
            listed.add("".join(folders) + name)
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert modules == listed


def test_every_test_that_security_names_exists() -> None:
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    cited = {name for name in named("SECURITY.md") if name.startswith("test_")}
    assert cited
    assert cited - tests == set()
