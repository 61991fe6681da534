"""What the documentation says exists, and its examples run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_wxbank
from airflow_provider_wxbank.get_provider_info import FIELDS
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.simulator.__main__ import _parser
from airflow_provider_wxbank.simulator.faults import KINDS
from airflow_provider_wxbank.wechatpay import errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(airflow_provider_wxbank.__file__).parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page that are in a language."""
    return [code for found, code in _BLOCK.findall(page.read_text("utf-8")) if found == language]


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of every relative link of a page; an empty path is the page itself."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text("utf-8"))):
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(page: Path | str) -> set[str]:
    """Everything that a page has in back quotes."""
    text = page.read_text("utf-8") if isinstance(page, Path) else read(page)
    return set(re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text)))


def run(code: str, page: Path, namespace: dict[str, Any]) -> None:
    exec(compile(code, page.name, "exec", dont_inherit=True), namespace)


by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@by_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path} does not exist"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {path} has no heading #{anchor}"


@by_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    text = page.read_text("utf-8")
    code = [*re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text)), *(block for _, block in _BLOCK.findall(text))]
    for line in "\n".join(code).splitlines():
        if made := re.match(r"(?:\$ )?make ((?:[\w=.-]+ ?)+)", line):
            assert {word for word in made[1].split() if "=" not in word} <= targets, line


@by_page
def test_every_python_example_runs_in_a_dag(page: Path, simulator: Simulator, connect: Callable[..., None]) -> None:
    """Examples of a page follow one another; the connection is one to a simulator."""
    from airflow.providers.common.compat.sdk import DAG

    connect(simulator)
    with DAG("example", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        namespace: dict[str, Any] = {}
        for code in blocks(page, "python"):
            run(code, page, namespace)


@by_page
def test_every_json_example_is_json(page: Path) -> None:
    for code in blocks(page, "json"):
        json.loads(code)


def test_the_readme_has_one_dag_with_the_three_tasks_in_a_row() -> None:
    from airflow.providers.common.compat.sdk import DAG

    namespace: dict[str, Any] = {}
    (code,) = blocks(ROOT / "README.md", "python")
    with DAG("outer", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        run(code, ROOT / "README.md", namespace)
    dag = namespace["export"].dag
    assert dag.dag_id == "import_users"
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "export_users": {"upload"},
        "upload": {"finished"},
        "finished": set(),
    }


def test_connections_in_examples_have_known_fields() -> None:
    examples = [
        json.loads(code) for name in ("README.md", "docs/connection.md") for code in blocks(ROOT / name, "json")
    ]
    assert examples
    for example in examples:
        assert set(example) <= {"conn_type", "login", "password", "host", "extra"}
        assert example["conn_type"] == "wxbank"
        assert set(example["extra"]) <= {name for name, *_ in FIELDS}


def test_every_field_of_a_connection_is_described() -> None:
    assert {name for name, *_ in FIELDS} <= named("docs/connection.md")


def test_every_error_is_described() -> None:
    classes = {
        name for name, one in vars(errors).items() if isinstance(one, type) and one.__module__ == errors.__name__
    }
    assert classes - named("docs/errors.md") == set()


def test_every_option_and_fault_of_the_simulator_is_described() -> None:
    options = {option for action in _parser()._actions for option in action.option_strings if option.startswith("--")}
    assert options - {"--help"} - named("docs/simulator.md") == set()
    assert set(KINDS) - named("docs/simulator.md") == set()


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
    lines = re.findall(r"^( +)(\S+)(?= )", layout, re.MULTILINE)
    folder, listed = "", set()
    for indent, name in lines:
        if len(indent) == 2:
            folder = name if name.endswith("/") else ""
        if name.endswith(".py"):
            listed.add((folder if len(indent) > 2 else "") + name)
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert modules == listed


def test_every_test_that_security_names_exists() -> None:
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    cited = {name for name in named("SECURITY.md") if name.startswith("test_")}
    assert cited
    assert cited - tests == set()
