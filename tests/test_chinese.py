# SPDX-License-Identifier: Apache-2.0
"""The Chinese pages keep step with the English ones.

That the code in their blocks is equal is what proves it: the blocks of the English pages are run.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import airflow_provider_wxbank
from tests.harness.pages import CHINESE, ROOT, Block, blocks, commands, named, prose

pair = pytest.mark.parametrize(("english", "chinese"), CHINESE.items(), ids=[page.stem for page in CHINESE])

COMMENT = {
    "python": r'#.*|(?<=    )"""[^"]+"""$',
    "console": r"(?<!\S)#.*",
    "yaml": r"(?<!\S)#.*",
    "ini": r"^[#;].*",
    "sql": r"--.*",
    "folders": r"(?<=\S) {2,}\S.*",
    "{image}": r"(?<=^:alt: ).*",
}
"""What explains code, in each language in which something does: comments, docstrings, remarks beside a file's name, and
what a picture shows."""
ONCE = {"{toctree}", "{eval-rst}"}
"""What the site has once: its table of contents, and the description of an object of the code."""
STRING = r"""'[^']*'|"(?:\\.|[^"\\])*\""""
DRAWN = r"[|<>^\u2500-\u257f]|[.']?-{2,}[.']?|(?<!\S)v(?!\S)"
"""The lines, corners and arrows of a drawing."""
WIDE = "[\u3000-\u9fff\uff00-\uff60]"

WORD = r"(?:WeChat|[A-Za-z][a-z]*)(?:-[a-z]+)*"
NAMES = {"Airflow", "Authorization", "Counts", "Hive", "Hook", "Operator", "Parquet", "Sensor", "Step"}
NAMES |= {"aiohttp", "airflow", "extra", "fsspec", "shangmi", "trigger", "triggerer", "worker"}
NAMES |= {"wxbank", "wxbank-simulator"}
NAMES |= {path.stem for path in Path(airflow_provider_wxbank.__file__).parent.iterdir()}
"""Names that look like English words, and are written so in Chinese, too."""


def code_and_text(block: Block) -> tuple[object, list[str]]:
    """A block in two parts: what must be the same in both languages, and the texts in it, which are translated.

    Code must have comments in the same places, and a drawing its lines. A Chinese character is as wide as two others.
    """
    language, *title = block.language.split(maxsplit=1)
    if language == "{diagram}" or re.search("[\u2500-\u257f]", block.code):
        lines = re.sub(WIDE, "xx", block.code).splitlines()
        drawing = [[(one.start(), one[0]) for one in re.finditer(DRAWN, line)] for line in lines]
        return (language, drawing), [*title, *re.sub(DRAWN, " ", block.code).splitlines()]
    if language == "text" and re.match(r"\S+/\n", block.code):
        language = "folders"
    comments: list[str] = []

    def take(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0]
        comments.append(match[1])
        return "#"

    def without_comments(code: str) -> str:
        return re.sub(f"({COMMENT.get(language, '(?!)')})|{STRING}", take, code, flags=re.MULTILINE)

    if language == "console":
        return [(without_comments(command), output) for command, output in commands(block)], comments
    return (language, without_comments(block.code)), comments


def names_and_words(text: str) -> tuple[set[str], set[str]]:
    """What a text has in Latin letters: names, numbers and code, in the singular, and English words."""
    found = set(re.findall(r"\w+(?:[./-]\w+)*", text, re.ASCII))
    words = {one for one in found if re.fullmatch(WORD, one)}
    return {one.removesuffix("s") for one in found - words}, words - NAMES


def test_the_chinese_pages_are_those_that_are_promised() -> None:
    assert {*(ROOT / "docs/zh").iterdir(), *ROOT.glob("*.zh-*")} == set(CHINESE.values())


@pair
def test_each_page_leads_to_the_other_below_its_title(english: Path, chinese: Path) -> None:
    for page, other, name in ((english, chinese, "中文"), (chinese, english, "English")):
        _, _, link, _ = page.read_text("utf-8").split("\n", 3)
        assert link == f"[{name}]({os.path.relpath(other, page.parent)})"


@pair
def test_the_headings_have_the_same_levels(english: Path, chinese: Path) -> None:
    assert re.findall(r"^#+", prose(english), re.MULTILINE) == re.findall(r"^#+", prose(chinese), re.MULTILINE)


@pair
def test_the_code_is_the_same_and_what_explains_it_is_chinese(english: Path, chinese: Path) -> None:
    """But for what the site has once."""

    def of(page: Path) -> list[tuple[object, list[str]]]:
        return [code_and_text(block) for block in blocks(page) if block.language not in ONCE]

    assert [code for code, _ in of(english)] == [code for code, _ in of(chinese)]
    for (_, originals), (_, translations) in zip(of(english), of(chinese), strict=True):
        for original, translation in zip(originals, translations, strict=True):
            names, words = names_and_words(translation)
            assert names_and_words(original)[0] - names == set(), translation
            assert words == set(), translation


@pytest.mark.parametrize(
    ("language", "code", "comments"),
    [
        ("python", "a = \"# 1\"  # 2\nb = '#3'#4\n", ["# 2", "#4"]),
        ("python", 'def f():\n    """1."""\n    return """2."""\n', ['"""1."""']),
        ("console", "$ a#1 '# 2' \"# 3\" # 4\n# 5\n", ["# 4"]),
        ("ini", "# 1\n[a]\nb = # 2\n", ["# 1"]),
        ("sql", "SELECT '-- 1' -- 2\n", ["-- 2"]),
        ("json", '{"a": "# 1"}\n', []),
        ("text", "# 1\na  b\n", []),
        ("text", "a/\n  b    1 2\n", ["    1 2"]),
    ],
)
def test_a_comment_is_told_from_code_and_output(language: str, code: str, comments: list[str]) -> None:
    assert code_and_text(Block(ROOT, 1, language, code))[1] == comments


@pair
def test_the_tables_have_as_many_rows(english: Path, chinese: Path) -> None:
    def rows(page: Path) -> list[int]:
        return [len(table[0].splitlines()) for table in re.finditer(r"(?:^\|.*\n)+", prose(page), re.MULTILINE)]

    assert rows(english) == rows(chinese)


@pair
def test_no_name_address_or_picture_is_left_out(english: Path, chinese: Path) -> None:
    def addresses(page: Path) -> set[str]:
        return set(re.findall(r"https?://[^\s)`>]+", prose(page)))

    def pictures(page: Path) -> list[Path]:
        return [(page.parent / path).resolve() for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", prose(page))]

    def in_chinese(picture: Path) -> Path:
        chinese = picture.with_stem(f"{picture.stem}-zh")
        return chinese if chinese.exists() else picture

    assert named(english) - named(chinese) == set()
    assert addresses(english) == addresses(chinese)
    assert [*map(in_chinese, pictures(english))] == pictures(chinese)


@pytest.mark.parametrize("page", CHINESE.values(), ids=[page.stem for page in CHINESE])
def test_the_chinese_is_set_as_chinese(page: Path) -> None:
    """What WeChat Pay writes without spaces is in back quotes, “” or 【】."""
    text = re.sub(r"“[^”]*”|【[^】]*】", "", prose(page))
    text = re.sub(r"`[^`\n]*`", "code", text)
    text = re.sub(r" ?\| ?", "|", re.sub(r"\]\([^)]*\)|[*[]", "", text))
    han, mark = "[\u4e00-\u9fff]", "[\u3000-\u303f\uff00-\uffef]"
    wrong = {
        "a space is missing": f"{han}[A-Za-z0-9]|[A-Za-z0-9%]{han}",
        "a space is too many": f"{han} {han}|{mark} | {mark}",
        "the punctuation is not Chinese": f"{han}[,.:;?!()]",
        "a line is broken, which is shown as a space": r"\S\n *(?![#>|\n`-]|\d\. |$)\S",
    }
    assert {what: found for what, one in wrong.items() if (found := re.findall(f".*(?:{one}).*", text))} == {}
