# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CHINESE = {
    **{ROOT / f"{name}.md": ROOT / f"{name}.zh-CN.md" for name in ("README", "SECURITY", "CHANGELOG", "CONTRIBUTING")},
    **{
        ROOT / "docs" / f"{name}.md": ROOT / "docs/zh" / f"{name}.md"
        for name in (
            "index", "try", "connection", "cryptography", "database", "files", "upload", "wait", "errors", "production",
            "metrics", "evidence", "campaigns", "watch", "how-it-works", "comparison", "command-line", "simulator",
            "sources", "source-oracle", "source-jdbc", "source-gaussdb", "source-mysql", "source-hive",
            "source-maxcompute", "source-odbc", "source-text", "source-sftp", "source-s3",
            "large", "lineage", "upgrading", "reference", "performance", "security", "changelog", "contributing",
        )
    },
}  # fmt: skip
"""The English pages that are there in Chinese, too, each with its Chinese page."""

_BLOCK = re.compile(r"^(`{3,})([^\n]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block.

    :param line: where it begins, from 1.
    :param language: what is written behind its back quotes.
    """

    page: Path
    line: int
    language: str
    code: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}-{self.language.split()[0]}"


def blocks(page: Path, language: str | None = None) -> Iterator[Block]:
    """The code blocks of a page, all or those in a language."""
    text = page.read_text("utf-8")
    for match in _BLOCK.finditer(text):
        if language in (None, match[2]):
            yield Block(page, text.count("\n", 0, match.start()) + 1, match[2], match[3])


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of every relative link of a page; an empty path is the page itself."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(page: Path | str) -> set[str]:
    """Everything that a page has in back quotes."""
    return set(re.findall(r"`([^`\n]+)`", prose(ROOT / page)))


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and the output that is shown after it.

    A command begins behind ``$ ``, and goes on after a backslash, or until the ``EOF`` of its here-document.
    """
    lines = block.code.splitlines()
    assert not lines or lines[0].startswith("$ "), f"{block} does not begin with a command"
    while lines:
        command = [lines.pop(0).removeprefix("$ ")]
        while lines and (command[-1].endswith("\\") or ("<<'EOF'" in command[0] and command[-1] != "EOF")):
            command.append(lines.pop(0))
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        yield "\n".join(command), "\n".join(output)
