# SPDX-License-Identifier: Apache-2.0
"""The language of the commands: Chinese for who asks for it, English for everybody else and for programs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Formatter

import pytest
from airflow.utils import yaml
from rich.cells import cell_len

import airflow_provider_wxbank
from airflow_provider_wxbank.cli import chinese, chinese_help
from airflow_provider_wxbank.cli.chinese import CHINESE, MEASURES
from airflow_provider_wxbank.cli.output import Column, fitting
from airflow_provider_wxbank.cli.words import counted, in_english, prefers_chinese, worded
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.simulator.options import OPTIONS
from tests.airflow.conftest import Run
from tests.conftest import PACKAGE, numbers
from tests.harness.waiting import PATIENCE

CLI = Path(airflow_provider_wxbank.__file__).parent / "cli"
WIDE = re.compile("[\u4e00-\u9fff]")
LANGUAGE = {"LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN.UTF-8", "LANGUAGE": "", "PYTHONIOENCODING": "utf-8"}
"""What a Chinese operator has. Python writes UTF-8 also where this locale is not installed."""


def literals(function: str, position: int) -> Iterator[str]:
    """What the commands give to a function: a literal each time, but for the simulator's own texts."""
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                text = node.args[position]
                if ast.unparse(text) == "settings['help']":
                    yield from (settings["help"] for _, settings in OPTIONS)
                    continue
                assert isinstance(text, ast.Constant), f"{path.name}:{node.lineno}: {ast.unparse(text)}"
                assert isinstance(text.value, str)
                yield text.value


def fields(text: str) -> set[str]:
    """The fields of a template, and those that argparse fills in."""
    return {name for _, name, _, _ in Formatter().parse(text) if name} | set(re.findall(r"%\(\w+\)s", text))


# The catalogue


def test_every_text_is_there_in_chinese_and_none_that_is_said_no_more() -> None:
    texts = set(literals("worded", 0))
    assert len(texts) > 150
    assert texts - CHINESE.keys() == set()
    assert CHINESE.keys() - texts == set()
    assert set(literals("counted", 1)) == MEASURES.keys()


def test_a_text_has_the_same_fields_in_both_languages() -> None:
    assert {english for english, chinese in CHINESE.items() if fields(english) != fields(chinese)} == set()


def test_the_same_text_is_not_translated_twice() -> None:
    parts = {**vars(chinese), **vars(chinese_help)}
    whole = ("CHINESE", "HELP", "MEASURES")
    sizes = [len(part) for name, part in parts.items() if name.isupper() and name not in whole]
    assert len(sizes) > 5
    assert sum(sizes) == len(CHINESE)


def test_chinese_texts_are_chinese_and_fit_any_chinese_encoding() -> None:
    for english, text in {**CHINESE, **MEASURES}.items():
        assert WIDE.search(text) or not re.search("[a-z]", re.sub(r"\{[^}]*\}", "", english)), english
        assert text.isprintable()
        text.encode("gbk")
        # As the pages are set; what WeChat Pay writes without spaces is in “”.
        text = re.sub("“[^”]*”", "", text)
        assert not re.search("[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9%][\u4e00-\u9fff]", text), text
        assert not re.search(r"[\u4e00-\u9fff][,.:;?!()]", text), text


# The choice


@pytest.mark.parametrize(
    ("environ", "is_chinese"),
    [
        ({}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.GB18030"}, True),
        ({"LANG": "zh"}, True),
        ({"LANG": "zh_SG.UTF-8"}, True),
        ({"LANG": "zh_Hans_CN.UTF-8"}, True),
        ({"LANG": "zh_TW.UTF-8"}, False),
        ({"LANG": "zh_HK.UTF-8"}, False),
        ({"LANG": "zh_MO.UTF-8"}, False),
        ({"LANG": "zh_Hant.UTF-8"}, False),
        ({"LANG": "zha_CN.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, True),
        ({"LANGUAGE": "zh_CN:en", "LANG": "en_US.UTF-8"}, True),
        ({"LANGUAGE": "en:zh_CN", "LANG": "zh_CN.UTF-8"}, False),
        ({"LANGUAGE": "fr:zh_CN", "LANG": "en_US.UTF-8"}, True),
        ({"LANGUAGE": "C:zh_CN", "LANG": "zh_CN.UTF-8"}, False),
        ({"LANGUAGE": "fr", "LANG": "zh_CN.UTF-8"}, False),
        ({"LANGUAGE": "", "LANG": "zh_CN.UTF-8"}, True),
        ({"LANGUAGE": "zh_CN", "LANG": "C"}, False),
        ({"LANGUAGE": "zh_CN", "LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"LANGUAGE": "zh_CN", "LC_ALL": "POSIX"}, False),
        ({"LANGUAGE": "zh_CN"}, False),
    ],
    ids=lambda value: " ".join(f"{name}={one}" for name, one in value.items()) if isinstance(value, dict) else "",
)
def test_the_language_is_chosen_as_gettext_does(environ: dict[str, str], is_chinese: bool) -> None:
    assert prefers_chinese(environ) == is_chinese


def test_texts_and_numbers_of_things_are_in_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> str:
        return worded("It has {tasks} now", tasks=counted(1234, "upload task"))

    assert (told(), counted(1, "file")) == ("It has 1,234 upload tasks now", "1 file")
    for name, value in LANGUAGE.items():
        monkeypatch.setenv(name, value)
    assert (told(), counted(1, "file")) == ("该号码包现有 1,234 个上传任务", "1 个文件")
    with in_english():
        assert told() == "It has 1,234 upload tasks now"
    # Braces of a text without fields mean nothing.
    assert "{task.description}" in worded("Package {task.description}")


def test_a_table_is_measured_by_the_width_of_its_characters() -> None:
    columns = (Column("一", "a"), Column("二", "b", is_optional=True))
    rows = [{"a": "号码包号码包", "b": "协议号"}]
    assert fitting(rows, columns, 12 + 3 + 6) == list(columns)
    assert fitting(rows, columns, 12 + 3 + 5) == [columns[0]]


# The commands

OF_AIRFLOW = "WARNING: "
"""How a line begins that an older Airflow says of its own configuration."""
DRY_RUN = ("upload", PACKAGE, "--bank-type", "ICBC_DEBIT", "--dry-run")


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own, as a Chinese operator runs it unless the environment says otherwise."""
    return subprocess.run(
        [sys.executable, "-m", "airflow_provider_wxbank", *arguments], env={**os.environ, **LANGUAGE, **environ},
        capture_output=True, encoding="utf-8", check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def said(told: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that are not the result."""
    return [line for line in told.stderr.splitlines() if not line.startswith(OF_AIRFLOW)]


def test_the_help_is_chinese_and_as_wide_as_the_terminal() -> None:
    for name in ("upload", "export"):
        told = command(name, "--help", COLUMNS="80")
        assert told.returncode == 0, told.stderr
        assert "\n退出码：\n" in told.stdout
        assert max(map(cell_len, told.stdout.splitlines())) <= 80
    assert "（必填）" in told.stdout
    # What needs no words of ours.
    assert "--bank-type BANK_TYPE" in told.stdout


def test_every_command_and_option_is_described_in_chinese() -> None:
    code = (
        "import json; from airflow_provider_wxbank.__main__ import parser; "
        "(found,) = (one.choices for one in parser()._actions if isinstance(one.choices, dict)); "
        "print(json.dumps([[name, command.description, "
        "[[one.option_strings or one.dest, one.help, one.required] for one in command._actions]] "
        "for name, command in found.items()]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **LANGUAGE}, check=True, capture_output=True, text=True
    ).stdout
    told = json.loads(shown.splitlines()[-1])
    assert len(told) == 10
    of_others = {("-h", "--help"), ("-o", "--output"), ("-v", "--verbose")}
    for name, description, options in told:
        assert WIDE.search(description), name
        for option, text, is_required in options:
            if not isinstance(option, list) or tuple(option) not in of_others:
                assert WIDE.search(text), (name, option, text)
                assert ("（必填" in text) >= is_required, (name, option)


@pytest.mark.parametrize(
    "environ",
    [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}],
    ids=lambda environ: " ".join(f"{name}={one}" for name, one in environ.items()),
)
def test_who_does_not_ask_for_chinese_or_cannot_be_shown_it_gets_english(environ: dict[str, str]) -> None:
    told = command("upload", PACKAGE, **environ)
    assert told.returncode == 11
    assert told.stderr.startswith("error: nothing was uploaded: ")
    assert told.stderr.isascii()


def test_chinese_is_printed_in_the_encoding_of_the_terminal() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "airflow_provider_wxbank", "upload", "--help"],
        env={**os.environ, **LANGUAGE, "LANG": "zh_CN.GBK", "PYTHONIOENCODING": "gbk"},
        capture_output=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "\n退出码：\n" in ended.stdout.decode("gbk")


@pytest.mark.parametrize("output", ["table", "json", "yaml", "plain"])
@pytest.mark.parametrize("folder", ["导出", "\U00020000"])
def test_what_cannot_be_shown_fails_no_command(
    connected: Simulator, users: Path, tmp_path: Path, output: str, folder: str
) -> None:
    path = tmp_path / folder
    told = command(
        "export", "--bank-type", "ICBC_DEBIT", "--source", str(users), "--output-path", str(path), "-o", output,
        PYTHONIOENCODING="ascii", COLUMNS="300",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.isascii()
    if output == "json":
        assert json.loads(told.stdout)["manifest"] == f"{path}/manifest.json"
    elif output == "yaml":
        assert yaml.safe_load(told.stdout)["manifest"] == f"{path}/manifest.json"
    else:
        assert folder.encode("ascii", "backslashreplace").decode() in told.stdout


@pytest.fixture
def dry_run(connected: Simulator, users: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Says what an upload of 12 numbers would do."""

    def run(output: str, **environ: str) -> subprocess.CompletedProcess[str]:
        told = command(*DRY_RUN, "--file", str(users), "-o", output, **environ)
        assert told.returncode == 0, told.stderr
        return told

    return run


def test_a_dry_run_is_told_in_chinese(dry_run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    told = dry_run("table", COLUMNS="100")
    lines = [[cell.strip() for cell in line.split("|")] for line in told.stdout.splitlines()]
    assert lines[0] == ["项目", "内容"]
    shown = dict(lines[2:])
    assert shown["号码包"] == f"{PACKAGE}。该号码包还没有上传任务"
    assert shown["连接"] == "wxbank_default，商户号 1900000001"
    assert shown["文件"] == "1（已在号码包中、将会沿用：0 个）"
    assert shown["上传"] == "不到 1 分钟（估计）"
    assert shown["处理完成"] == "开始后约 40 分钟"
    # The columns stand below each other.
    assert len({cell_len(line.partition("|")[0]) for line in told.stdout.splitlines() if "|" in line}) == 1
    assert told.stderr.endswith("没有上传任何内容：以上为将会上传的内容\n")


@pytest.mark.parametrize("output", ["json", "yaml", "plain"])
def test_what_programs_read_is_the_same_in_both_languages(
    run: Run, dry_run: Callable[..., subprocess.CompletedProcess[str]], users: Path, output: str
) -> None:
    told = dry_run(output)
    code, out, err = run(*DRY_RUN, "--file", str(users), "-o", output)
    assert (code, out) == (0, told.stdout)
    assert out.isascii()
    assert err != told.stderr


def test_an_upload_and_its_tasks_are_told_in_chinese(connected: Simulator, users: Path) -> None:
    told = command("upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "--yes")
    assert told.returncode == 0, told.stderr
    assert said(told) == [
        f"号码包 {PACKAGE}：正在上传 1 个文件、12 个协议号",
        "微信支付已有 1 / 1 个文件、12 / 12 个协议号；处理已发送的约需 40 分钟",
        "已上传 1 个文件，沿用 0 个（已在号码包中）",
    ]
    listed = command("tasks", PACKAGE).stdout
    heading, _, task, _, sums = ([cell.strip() for cell in line.split("|")] for line in listed.splitlines())
    assert heading[:6] == ["上传任务 ID", "文件名", "状态", "匹配成功", "匹配失败", "匹配用户"]
    # What WeChat Pay calls it, and what --status takes.
    assert task[2] == "FINISHED"
    assert (sums[0], sums[2]) == ("1 个上传任务", "1 个已完成")


def test_a_wait_for_a_package_without_tasks_tells_so_in_chinese(connected: Simulator) -> None:
    told = command("wait", PACKAGE, "--poke-interval", "0.05", "--timeout", "0.1")
    assert told.returncode == 9
    *looks, error, _ = said(told)
    assert set(looks) == {f"号码包 {PACKAGE}：该号码包还没有上传任务"}
    assert error == f"错误：号码包 {PACKAGE} 在 0.1 秒内没有完成：该号码包还没有上传任务"


def test_a_wait_tells_in_chinese_how_many_tasks_are_left(
    new_simulator: Callable[..., Simulator], connect: Callable[..., None], users: Path
) -> None:
    connect(new_simulator(processing_seconds=1000.0))
    assert command("upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "--yes").returncode == 0
    told = command("wait", PACKAGE, "--poke-interval", "0.05", "--timeout", "0.1")
    *looks, error, hint = said(told)
    assert set(looks) == {f"号码包 {PACKAGE}：还有 1 个上传任务未完成"}
    assert error == f"错误：号码包 {PACKAGE} 在 0.1 秒内没有完成：还有 1 个上传任务未完成"
    assert hint == "提示：再次运行同一命令会继续等待"


def test_a_wait_for_one_of_many_tasks_never_tells_in_chinese_that_there_are_none(
    new_simulator: Callable[..., Simulator], connect: Callable[..., None], users: Path, tmp_path: Path
) -> None:
    connect(new_simulator(processing_seconds=1000.0))
    users.write_text("".join(f"{number}\n" for number in numbers(45)))
    folder = str(tmp_path / "export")
    exported = command(
        "export", "--bank-type", "ICBC_DEBIT", "--source", str(users), "--output-path", folder,
        "--max-rows-per-file", "1", "-o", "json",
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    assert command("upload", PACKAGE, "--manifest", folder, "--yes").returncode == 0
    # On no first page, whichever end it begins at: the next looks ask for this one alone.
    middle = json.loads(command("tasks", PACKAGE, "-o", "json").stdout)[22]["filename"]
    told = command("wait", PACKAGE, "--filenames", middle, "--poke-interval", "0.05", "--timeout", "1")
    *looks, _, _ = said(told)
    assert looks[0] == f"号码包 {PACKAGE}：还有 45 个上传任务未完成"
    assert set(looks[1:]) == {f"号码包 {PACKAGE}：仍在处理"}
