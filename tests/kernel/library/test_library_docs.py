"""What docs/library.md shows is what happens: its blocks are run in order, their output compared."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import TREE


class Block(NamedTuple):
    """A block of code, and what the document says that it prints."""

    language: str
    text: str
    shown: str


def blocks(document: str) -> Iterator[Block]:
    """Each block of code, with the block of text that follows it, if one does."""
    found = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", document)
    for index, (language, text) in enumerate(found):
        follows = found[index + 1] if index + 1 < len(found) else ("", "")
        yield Block(language, text, follows[1] if follows[0] == "text" else "")


def document(*names: str) -> str:
    with open(os.path.join(TREE, *names), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize(("names", "least"), ((("docs", "library.md"), 9), (("README.md",), 1)))
def test_the_document_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], least: int
) -> None:
    """Profiles in it are written to the file that their first line names."""
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {}
    count = 0
    for block in blocks(document(*names)):
        if block.language == "toml" and block.text.startswith("# "):
            name = block.text.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(block.text)
        if block.language != "python":
            continue
        count += 1
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(block.text, "library.md", "exec"), variables)
        assert output.getvalue().strip() == block.shown.strip(), block.text
    assert count >= least


def test_the_search_for_blocks_is_not_blind() -> None:
    text = "```python\na\n```\n\n```text\nb\n```\n```python\nc\n```\n"
    assert list(blocks(text)) == [
        Block("python", "a\n", "b\n"),
        Block("text", "b\n", ""),
        Block("python", "c\n", ""),
    ]
