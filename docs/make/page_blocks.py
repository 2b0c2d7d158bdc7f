"""The code blocks of the documentation, run as a reader would run them.

    python docs/make/page_blocks.py [PAGE ...]     # run them; all pages without a name
    python docs/make/page_blocks.py --counts       # only say what would be run

Every fenced block has a language. ``bash`` is run, ``console`` is run and what it shows is compared
(``...`` stands for anything), ``python`` is run (``expression  # => shown`` is compared), all
blocks of a page in one folder from which ``examples/`` can be reached. A block with a title is a
file, which is written there. ``<!-- continues: PAGE.md -->`` starts a page in the folder another
page left behind; ``<!-- not run: REASON -->`` in front of a block leaves it out.
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
RUN = ("bash", "console", "python")
SHOWN = ("json", "text", "toml")
SECONDS = 300
_COMMENT = re.compile(r"<!--\s*(not run|continues):\s*(.*?)\s*-->", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class BlockFailed(Exception):
    """A block did not do what its page says."""


@dataclass(frozen=True)
class Block:
    """A block of code: where it stands, and why it is not run, if it is not."""

    page: Path
    line: int
    language: str
    text: str
    title: str = ""
    reason: str = ""

    @property
    def fate(self) -> str:
        """``run``, ``written``, ``marked`` or ``shown``."""
        if self.reason:
            return "marked"
        if self.title:
            return "written"
        return "run" if self.language in RUN else "shown"

    @property
    def where(self) -> str:
        """Page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Page:
    """The blocks of one page. ``continues``: the page whose folder it starts in."""

    path: Path
    blocks: tuple[Block, ...]
    continues: Path | None
    problems: tuple[str, ...]


def pages() -> list[Path]:
    """README and all pages, sorted."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read_page(path: Path) -> Page:
    """The blocks of a page, and what is wrong with how they are written."""
    blocks: list[Block] = []
    problems: list[str] = []
    continues = None
    reason = ""
    for token in MarkdownIt("commonmark").parse(path.read_text("utf-8")):
        line = token.map[0] + 1 if token.map else 0
        where = f"{path.relative_to(ROOT)}:{line}"
        if token.type == "html_block" and (found := _COMMENT.search(token.content)):
            if found[1] == "continues":
                continues = path.parent / found[2]
            else:
                reason = found[2]
                if len(reason) < 8:
                    problems.append(f"{where}: a block that is not run needs a reason")
        elif token.type == "code_block":
            problems.append(f"{where}: an indented block has no language; use ``` and one")
        elif token.type == "fence":
            language = token.info.split()[0] if token.info.split() else ""
            if language not in RUN + SHOWN:
                problems.append(f"{where}: language {language!r}, not one of {RUN + SHOWN}")
            title = _TITLE.search(token.info)
            blocks.append(
                Block(path, line, language, token.content, title[1] if title else "", reason)
            )
            reason = ""
        elif reason and token.type.endswith("_open"):
            problems.append(f"{where}: 'not run' stands in front of no block")
            reason = ""
    return Page(path, tuple(blocks), continues, tuple(problems))


class Runner:
    """Runs pages, each once, in folders below ``home``."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folders: dict[Path, Path | BlockFailed] = {}

    def run(self, path: Path) -> Path:
        """Run a page, and first the one it continues; its folder. Raises BlockFailed."""
        if path not in self._folders:
            try:
                self._folders[path] = self._run(path)
            except BlockFailed as error:
                self._folders[path] = error
        found = self._folders[path]
        if isinstance(found, BlockFailed):
            raise found
        return found

    def _run(self, path: Path) -> Path:
        page = read_page(path)
        folder = self._home / path.relative_to(ROOT).with_suffix("")
        if page.continues is not None:
            shutil.copytree(self.run(page.continues), folder, symlinks=True)
        else:
            folder.mkdir(parents=True)
            for name in ("examples", "hardware_profiles"):
                (folder / name).symlink_to(ROOT / name)
        names: dict[str, Any] = {"__name__": path.stem}
        for block in page.blocks:
            if block.fate == "written":
                target = folder / block.title
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, "utf-8")
            elif block.fate == "run" and block.language == "python":
                _run_python(block, folder, names)
            elif block.fate == "run":
                for command, expected in commands(block):
                    _run_shell(block, folder, command, expected)
        return folder


def commands(block: Block) -> Iterator[tuple[str, str | None]]:
    """Commands of a block, each with what it shows; a ``bash`` block is one that shows anything."""
    if block.language == "bash":
        yield block.text, None
        return
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise BlockFailed(f"{block.where}: a console block begins with '$ '")
        command = [lines[at][2:]]
        while command[-1].endswith("\\"):
            at += 1
            command.append(lines[at])
        at += 1
        shown = []
        while at < len(lines) and not lines[at].startswith("$ "):
            shown.append(lines[at])
            at += 1
        yield "\n".join(command), "\n".join(shown)


def environment(folder: Path) -> dict[str, str]:
    """Of a reader's shell in which the program is installed; pip installs into the folder."""
    extra = str(folder / "installed")
    return {
        **os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONPATH": extra,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_TARGET": extra, "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_QUIET": "1",
        "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip


def _run_shell(block: Block, folder: Path, command: str, expected: str | None) -> None:
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment(folder),
            capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BlockFailed(f"{block.where}: not done after {SECONDS} s\n{command}") from error
    said = f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    if done.returncode:
        raise BlockFailed(f"{block.where}: exit code {done.returncode}\n{said}")
    if expected is not None:
        check_shown(block, expected, done.stdout)


def check_shown(block: Block, expected: str, shown: str) -> None:
    """Raises BlockFailed where ``shown`` is not what the page says, white space aside."""
    # a final line end lets ``...`` stand for the last lines, nothing included
    same = doctest.OutputChecker().check_output(
        f"{expected.strip()}\n", f"{shown.strip()}\n", _FLAGS
    )
    if not same:
        raise BlockFailed(
            f"{block.where}: the page says\n{expected}\nand this was shown\n{shown[:2000]}"
        )


def _run_python(block: Block, folder: Path, names: dict[str, Any]) -> None:
    """Statement by statement, in the page's folder."""
    before = Path.cwd()
    os.chdir(folder)
    lines = block.text.splitlines()
    try:
        for statement in ast.parse(block.text).body:
            expected = lines[(statement.end_lineno or 1) - 1].partition("  # => ")[2]
            if isinstance(statement, ast.Expr) and expected:
                code = compile(ast.Expression(statement.value), block.where, "eval")
                check_shown(block, expected, repr(eval(code, names)))
            else:
                module = ast.Module([statement], type_ignores=[])
                exec(compile(module, block.where, "exec"), names)
    except BlockFailed:
        raise
    except Exception as error:
        raise BlockFailed(f"{block.where}: {type(error).__name__}: {error}") from error
    finally:
        os.chdir(before)


def counts(paths: Sequence[Path]) -> str:
    """How many blocks there are of each fate, in words."""
    found = Counter(block.fate for path in paths for block in read_page(path).blocks)
    return (
        f"{found.total()} code blocks on {len(paths)} pages: {found['run']} run, "
        f"{found['written']} written as files the others use, {found['marked']} marked as not run "
        f"here, {found['shown']} that are no code to run"
    )


def main(arguments: Sequence[str]) -> int:
    """Run the named pages, or all."""
    paths = [Path(name).resolve() for name in arguments if name != "--counts"] or pages()
    problems = [problem for path in paths for problem in read_page(path).problems]
    print(*problems, counts(paths), sep="\n")
    if "--counts" in arguments or problems:
        return len(problems)
    failed = 0
    with tempfile.TemporaryDirectory() as home:
        runner = Runner(Path(home))
        for path in paths:
            try:
                runner.run(path)
                print(f"{path.relative_to(ROOT)}: done", flush=True)
            except BlockFailed as error:
                print(error, flush=True)
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
