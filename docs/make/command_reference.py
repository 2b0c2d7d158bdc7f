"""The page of all commands and options, written from the program itself.

python docs/make/command_reference.py     # write docs/command-reference.md anew
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from spikegpt_neuro.cli.program import app

PAGE = Path(__file__).parents[1] / "command-reference.md"
HEAD = """# All commands and options

Written from the program by `docs/make/command_reference.py`; the tests compare. What the commands
are for is in [commands](commands.md).
"""


def found(command: Any = None, name: str = "spikegpt-neuro") -> Iterator[tuple[str, Any]]:
    """Every command with its full name, those of groups too, in the order of ``--help``."""
    command = command or typer.main.get_command(app)
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from found(below, f"{name} {child}")


def escaped(text: str) -> str:
    """Text that is safe in a cell of a table: no line ends, columns, links or tags."""
    plain = html.escape(re.sub(r"\s+", " ", text).strip(), quote=False)
    return re.sub(r"([|\[\]*_])", r"\\\1", plain)


def row(parameter: Any, context: typer.Context) -> str:
    """One option or argument, as ``--help`` has it."""
    names, text = parameter.get_help_record(context)
    code = html.escape(re.sub(r"\s+", " ", names), quote=False).replace("|", "&#124;")
    return f"| <code>{code}</code> | {escaped(text)} |"


def section(name: str, command: Any) -> str:
    """A command: how it is called, what it does, its parameters."""
    context = typer.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    text = re.sub(r"\n(?!\n)", " ", (command.help or "").replace("\b", "")).strip()
    depth = "##" if name.count(" ") < 2 else "###"
    rows = [row(p, context) for p in command.params if p.get_help_record(context)]
    table = "\n".join(["| parameter | meaning |", "| --- | --- |", *rows]) if rows else ""
    parts = [f"{depth} {name}", f"```text\n{usage}\n```", escaped(text), table]
    return "\n\n".join(part for part in parts if part)


def written() -> str:
    """The whole page."""
    return "\n\n".join([HEAD.rstrip(), *(section(*each) for each in found())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
