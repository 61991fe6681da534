# SPDX-License-Identifier: Apache-2.0
"""The Chinese pages keep step with the English ones.

That their code blocks are equal is what proves them: those of the English pages are run.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.harness.pages import CHINESE, ROOT, blocks, named, prose

pair = pytest.mark.parametrize(("english", "chinese"), CHINESE.items(), ids=[page.stem for page in CHINESE])


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
def test_the_code_blocks_are_the_same(english: Path, chinese: Path) -> None:
    """Comments and outputs, too; but a drawing's title is text, and the site has one table of contents."""

    def code(page: Path) -> list[tuple[str, str]]:
        found = [(re.sub(r"(?<=^\{diagram\}).*", "", block.language), block.code) for block in blocks(page)]
        return [one for one in found if one[0] != "{toctree}"]

    assert code(english) == code(chinese)


@pair
def test_the_tables_have_as_many_rows(english: Path, chinese: Path) -> None:
    def rows(page: Path) -> list[int]:
        return [len(table[0].splitlines()) for table in re.finditer(r"(?:^\|.*\n)+", prose(page), re.MULTILINE)]

    assert rows(english) == rows(chinese)


@pair
def test_no_name_address_or_picture_is_left_out(english: Path, chinese: Path) -> None:
    def addresses(page: Path) -> set[str]:
        return set(re.findall(r"https?://[^\s)`]+", prose(page)))

    def pictures(page: Path) -> list[Path]:
        return [(page.parent / path).resolve() for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", prose(page))]

    assert named(english) - named(chinese) == set()
    assert addresses(english) == addresses(chinese)
    assert pictures(english) == pictures(chinese)


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
