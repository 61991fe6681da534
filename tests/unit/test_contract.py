"""What holds of the package as a whole: its layers, its imports, what it tells Airflow."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_provider_wxbank
from airflow_provider_wxbank.bank_types import is_known, known_bank_types
from airflow_provider_wxbank.get_provider_info import FIELDS, get_provider_info
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.wechatpay.packages import check_bank_type
from airflow_provider_wxbank.wechatpay.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(airflow_provider_wxbank.__file__).parent


MARK = "pytestmark = pytest.mark.without_airflow\n"


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """Every module that the modules of a folder import, with where."""
    return ((path.name, module) for path in folder.rglob("*.py") for module in imports_of(path))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("wechatpay", ("airflow.", "airflow_provider_wxbank.agreements", "airflow_provider_wxbank.simulator")),
        ("agreements", ("airflow.", "airflow_provider_wxbank.simulator", "requests", "urllib3")),
        ("simulator", ("airflow.", "airflow_provider_wxbank.wechatpay", "airflow_provider_wxbank.agreements")),
    ],
)
def test_nothing_imports_upward(folder: str, forbidden: tuple[str, ...]) -> None:
    upward = [where for where in imports(PACKAGE / folder) if f"{where[1]}.".startswith(forbidden)]
    assert upward == []


def test_what_is_tested_on_one_version_of_airflow_imports_nothing_of_it() -> None:
    own = {f"airflow_provider_wxbank.{layer}" for layer in ("wechatpay", "agreements", "simulator")}
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text("utf-8")]
    assert len(marked) > 10
    beside = [
        ROOT / "tests" / name for name in ("integration/files.py", "integration/raw_client.py", "vectors/__init__.py")
    ]
    for path in [*marked, *beside, ROOT / "tools" / "fuzz_targets.py"]:
        for module in imports_of(path):
            if module.startswith("airflow"):
                assert ".".join(module.split(".")[:2]) in own, f"{path.name} imports {module}"


@pytest.mark.parametrize("module", ["airflow_provider_wxbank", "airflow_provider_wxbank.get_provider_info"])
def test_importing_the_package_and_its_info_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('airflow', 'requests', 'cryptography') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "[]"


def test_what_every_airflow_command_reads_imports_nothing_heavy() -> None:
    light = {"__future__", "argparse", "pathlib", "typing", "airflow.cli.cli_config"}
    for name in ("cli/__init__.py", "cli/definition.py", "simulator_options.py"):
        code = ast.parse((PACKAGE / name).read_text("utf-8"))
        at_import = {node.module for node in code.body if isinstance(node, ast.ImportFrom)}
        at_import |= {alias.name for node in code.body if isinstance(node, ast.Import) for alias in node.names}
        assert at_import <= light | {"airflow_provider_wxbank.simulator_options"}


def test_airflow_is_told_of_commands_that_are_there() -> None:
    (name,) = get_provider_info()["cli"]
    module, _, function = name.rpartition(".")
    (group,) = getattr(importlib.import_module(module), function)()
    assert group.name == "wxbank"
    commands = {command.name for command in group.subcommands}
    assert commands == {"export", "upload", "tasks", "wait", "certificates", "check", "simulate"}


def test_the_provider_info_is_what_airflow_expects() -> None:
    name = "provider_info.schema.json"
    schema = json.loads(resources.files("airflow").joinpath(name).read_text("utf-8"))
    info = get_provider_info()
    jsonschema.validate(info, schema)
    assert info["package-name"] == "airflow-provider-wxbank"
    json.dumps(info)


def test_the_provider_info_is_what_the_registry_expects() -> None:
    """The schema of official providers is the stricter one; it also asks for what only their own release needs."""
    schema = json.loads(resources.files("airflow").joinpath("provider.yaml.schema.json").read_text("utf-8"))
    info = get_provider_info()
    of_official_ones = {"state": "ready", "source-date-epoch": 0, "dependencies": []}
    given = {**info, **{key: of_official_ones[key] for key in schema["required"] if key not in info}}
    # What Airflow 2 does not know yet, it lets pass at run time.
    newer = {"asset-uris", "cli"} - schema["properties"].keys()
    jsonschema.validate({key: value for key, value in given.items() if key not in newer}, schema)
    assert info["versions"] == [airflow_provider_wxbank.__version__]
    (integration,) = info["integrations"]
    for page in (integration["logo"], *integration["how-to-guide"]):
        assert (ROOT / page.removeprefix("/")).is_file()


def test_airflow_finds_the_provider_by_its_entry_point() -> None:
    entries = metadata.entry_points(group="apache_airflow_provider")
    (entry,) = [one for one in entries if one.dist and one.dist.name == "airflow-provider-wxbank"]
    assert entry.load()() == get_provider_info()


def test_every_module_that_the_info_names_is_there() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for module in info[kind][0]["python-modules"]:
            assert __import__(module)


def test_the_form_offers_every_field_that_a_connection_has() -> None:
    documented = set(re.findall(r"``(\w+)``", read_settings.__doc__ or ""))
    assert documented == {name for name, *_ in FIELDS} == set(get_provider_info()["connection-types"][0]["conn-fields"])


def test_secret_fields_are_hidden_by_their_names() -> None:
    from airflow.providers.common.compat.sdk import redact

    shown: Any = redact(dict.fromkeys(("merchant_private_key", "proxies", "password"), "secret text"))
    assert shown == {"merchant_private_key": "***", "proxies": "***", "password": "***"}


def test_the_form_for_older_airflow_is_the_same() -> None:
    behaviour = WxBankHook.get_ui_field_behaviour()
    form = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
    assert behaviour == {
        "hidden_fields": form["hidden-fields"],
        "relabeling": form["relabeling"],
        "placeholders": form["placeholders"],
    }


@pytest.mark.filterwarnings("ignore")  # Flask's own, of old versions
def test_the_form_for_older_airflow_has_its_widgets_where_they_exist() -> None:
    if importlib.util.find_spec("flask_appbuilder") is None:
        with pytest.raises(ImportError):
            WxBankHook.get_connection_form_widgets()
    else:
        assert list(WxBankHook.get_connection_form_widgets()) == [name for name, *_ in FIELDS]


def test_the_bank_types_are_those_of_the_page() -> None:
    assert len(known_bank_types()) == 449
    assert is_known("ICBC_DEBIT")
    assert not is_known("NEWBANK_DEBIT")
    for bank_type in known_bank_types():
        check_bank_type(bank_type)


def test_the_version_is_in_one_place() -> None:
    assert metadata.version("airflow-provider-wxbank") == airflow_provider_wxbank.__version__
