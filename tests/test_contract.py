# SPDX-License-Identifier: Apache-2.0
"""What holds of the package as a whole: its layers, its imports, what it tells Airflow."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_provider_wxbank
from airflow_provider_wxbank.agreements.files import check_bank_type
from airflow_provider_wxbank.get_provider_info import FIELDS, get_provider_info
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.bank_types import is_known, known_bank_types
from airflow_provider_wxbank.wechatpay.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(airflow_provider_wxbank.__file__).parent


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


LAYERS: tuple[tuple[str, ...], ...] = (
    ("plurals", "reporting.events"),
    ("wechatpay",),
    ("agreements",),
    ("packages",),
    ("_compat", "databases", "get_provider_info", "simulator"),
    ("reporting",),
    ("connections", "links", "parameters", "places", "retry_policy"),
    ("hooks",),
    ("receipts", "retention", "steps", "triggers", "uploads", "verification"),
    ("assets",),
    ("cleaning", "operators", "sensors"),
    ("cli", "ui"),
    ("__main__",),
)
"""Parts of the package, what others stand on first; the first that a module's name begins with is its own."""

WITHOUT_AIRFLOW = (
    "plurals", "reporting.events", "reporting.fields", "reporting.progress", "reporting.record",
    "wechatpay", "agreements", "packages", "simulator",
)  # fmt: skip


def own_imports() -> dict[str, set[str]]:
    """The modules of the package, and which of its own each imports, wherever it does; but not for its types alone."""
    paths = {
        path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    return {name: set(_own_imports(path, paths)) for name, path in paths.items() if name != "__init__"}


def _own_imports(path: Path, modules: Collection[str]) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        one
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for one in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            module = f"{node.module}.".removeprefix("airflow_provider_wxbank.")
            if module != f"{node.module}.":
                names = [f"{module}{alias.name}" for alias in node.names]
                yield from (name if name in modules else module.rstrip(".") for name in names)


def layer_of(module: str) -> int:
    (layer, *_) = (
        layer for layer, parts in enumerate(LAYERS) if any(f"{module}.".startswith(f"{part}.") for part in parts)
    )
    return layer


def test_no_module_imports_what_lies_above_it() -> None:
    """Not even inside a function: nothing below depends on what lies above."""
    upward = [
        f"{module} imports {other}"
        for module, others in own_imports().items()
        for other in others
        if other and layer_of(other) > layer_of(module)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = own_imports()
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in imports.get(module, ()):
                follow(other, (*way, module))
            done.add(module)

    for module in imports:
        follow(module, ())


def test_what_knows_nothing_of_airflow_imports_nothing_of_it() -> None:
    for part in WITHOUT_AIRFLOW:
        path = PACKAGE / part.replace(".", "/")
        for where in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            assert [module for module in imports_of(where) if f"{module}.".startswith("airflow.")] == [], where


def test_the_simulator_shares_nothing_with_what_it_checks() -> None:
    shared = {other for module, others in own_imports().items() if module.startswith("simulator") for other in others}
    assert {other for other in shared if other and not other.startswith("simulator")} == set()


def test_agreements_know_nothing_of_http() -> None:
    libraries = ("requests", "urllib3", "http")
    for where in (PACKAGE / "agreements").rglob("*.py"):
        assert [module for module in imports_of(where) if f"{module}.".startswith(libraries)] == [], where


SUITES = tuple(f"wechatpay/crypto/{name}" for name in ("rsa.py", "sm2.py", "sm2_points.py", "keys.py", "token_keys.py"))
"""What knows the algorithms. keys.py tells whose a key is, token_keys.py how a device signs with it."""

DESCRIBES_KEYS = (
    "wechatpay/crypto/pem.py", "wechatpay/crypto/pem_blocks.py", "get_provider_info.py", "cli/chinese_help.py",
)  # fmt: skip
"""What tells a person what kind of key a text is, the form of a connection, and the help of the simulator."""

OF_OTHERS = frozenset({"ssh-rsa"})
"""Names of SSH's algorithms."""

ALGORITHMS = re.compile(
    r"rsaes|rsa|sm[234]|oaep|mgf1|pkcs1|pkcs1v15|aes|aesgcm|gmssl|asymmetric|ciphers", re.IGNORECASE
)
_WORD = re.compile(r"[A-Z]{2,}[0-9]*(?![a-z])|[A-Z]?[a-z0-9]+|[A-Z]")


def code_of(path: Path) -> Iterator[tuple[int, str]]:
    """The names and texts of a module, without its documentation and comments, each with its line."""
    tree = ast.parse(path.read_text("utf-8"))
    documentation = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        texts: list[Any] = [getattr(node, name, None) for name in ("id", "attr", "name", "arg", "module", "asname")]
        if isinstance(node, ast.Constant) and node not in documentation:
            texts.append(node.value)
        yield from ((getattr(node, "lineno", 0), text) for text in texts if isinstance(text, str))


def test_only_the_suites_know_the_algorithms() -> None:
    """The next algorithm is a module and a value: nothing else asks which one it is."""
    others = [
        path
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).as_posix() not in (*SUITES, *DESCRIBES_KEYS)
        and "simulator" not in path.relative_to(PACKAGE).parts
    ]
    assert len(others) > 90
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text[:60]}"
        for path in others
        for line, text in code_of(path)
        if text not in OF_OTHERS and any(map(ALGORITHMS.fullmatch, _WORD.findall(text)))
    ]
    assert found == []


def test_every_file_of_code_names_its_license() -> None:
    folders = (PACKAGE, ROOT / "dags", ROOT / "tests", ROOT / "tools")
    kinds = ("*.py", "*.js", "*.css", "*.html")
    paths = [path for folder in folders for kind in kinds for path in folder.rglob(kind)]
    assert len(paths) > 200
    assert [path for path in paths if "SPDX-License-Identifier: Apache-2.0" not in path.read_text("utf-8")[:200]] == []


def test_no_module_and_no_function_is_too_long_to_read() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wechatpay.settings", "read_settings"),
        ("wechatpay.connection_check", "Step"),
        ("wechatpay.client", "Client"),
        ("wechatpay.packages", "UploadTask"),
        ("wechatpay.packages", "TaskPage"),
        ("wechatpay.packages", "list_tasks_page"),
        ("wechatpay.packages", "list_tasks"),
        ("wechatpay.keys", "PlatformKey"),
        ("wechatpay.waiting", "Counts"),
        ("triggers", "HAS_WATCHERS"),
    ],
)
def test_public_names_stay_where_they_are(module: str, name: str) -> None:
    found = importlib.import_module(f"airflow_provider_wxbank.{module}")
    assert getattr(found, name) is not None
    with pytest.raises(AttributeError):
        found.no_such_name  # noqa: B018  # that it is not there


def test_tests_of_what_knows_nothing_of_airflow_import_nothing_of_it() -> None:
    """Nor does what they import of the tests themselves."""
    tests = ROOT / "tests"
    waiting = [
        path
        for layer in ("reporting", "wechatpay", "agreements", "packages", "simulator")
        for path in (tests / layer).rglob("*.py")
    ]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in imports_of(path):
            if module.startswith("tests."):
                found = ROOT / module.replace(".", "/")
                waiting.append(found / "__init__.py" if found.is_dir() else found.with_suffix(".py"))
            own = module.removeprefix("airflow_provider_wxbank.")
            is_own = own != module and any(f"{own}.".startswith(f"{part}.") for part in WITHOUT_AIRFLOW)
            assert is_own or not module.startswith("airflow"), f"{path} imports {module}"
    assert len(seen) > 30


@pytest.mark.parametrize("module", ["airflow_provider_wxbank", "airflow_provider_wxbank.get_provider_info"])
def test_importing_the_package_and_its_info_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('airflow', 'requests', 'cryptography') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "[]"


def test_what_every_airflow_command_reads_imports_nothing_heavy() -> None:
    light = {"__future__", "argparse", "pathlib", "typing", "airflow.cli.cli_config"}
    light |= {"collections.abc", "contextlib", "contextvars", "os", "re", "sys"}
    own = ("cli/__init__.py", "cli/definition.py", "cli/words.py", "plurals.py", "simulator/__init__.py",
           "simulator/options.py")  # fmt: skip
    light |= {f"airflow_provider_wxbank.{name.removesuffix('.py').replace('/', '.')}" for name in own}
    for name in own:
        code = ast.parse((PACKAGE / name).read_text("utf-8"))
        at_import = {node.module for node in code.body if isinstance(node, ast.ImportFrom)}
        at_import |= {alias.name for node in code.body if isinstance(node, ast.Import) for alias in node.names}
        assert at_import <= light | {"importlib"}


def test_airflow_is_told_of_commands_that_are_there() -> None:
    (name,) = get_provider_info()["cli"]
    module, _, function = name.rpartition(".")
    (group,) = getattr(importlib.import_module(module), function)()
    assert group.name == "wxbank"
    commands = {command.name for command in group.subcommands}
    assert commands == {
        "export", "upload", "tasks", "wait", "imports", "certificates", "check", "verify", "clean", "simulate",
    }  # fmt: skip


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


SECRET_FIELDS = (
    "merchant_private_key", "merchant_private_key_uri", "merchant_private_key_pin", "proxies", "password",
    "naming_secret",
)  # fmt: skip


def test_secret_fields_are_hidden_by_their_names() -> None:
    from airflow.providers.common.compat.sdk import redact

    shown: Any = redact(dict.fromkeys(SECRET_FIELDS, "secret text"))
    assert shown == dict.fromkeys(shown, "***")


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
