"""Which package may import which, as data: floors, bottom to top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "spikegpt_neuro"
FLOORS: list[set[str]] = [
    {"errors", "version"},
    {"readers", "sampling_settings", "scratch"},
    {"arithmetic"},
    {"network"},
    {"events"},
    {"hardware_profiles", "predictions", "sampling", "texts", "vocabulary"},
    {"decomposition", "labelled"},
    {"backends"},
    {"mapping"},
    {"energy"},
    {"model"},
    {"converters", "exchange"},
    {"slayer"},
    {"classification", "scoring", "generation", "verification"},
    {"comparison", "corpus", "fitting", "training"},
    {"reports"},
    {"opening", "publishing"},
    {"api", "harness", "hugging_face", "neurobench", "serving"},
    {"cli"},
]
"""A package imports itself and those of floors below it, in functions and for types too."""
HEIGHT = {package: height for height, floor in enumerate(FLOORS) for package in floor}
FOLDERS = {
    NAME: ROOT / NAME,
    f"{NAME}.converters": ROOT / "converters",
    f"{NAME}.hardware_profiles": ROOT / "hardware_profiles",
}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            yield ".".join([package, *path.relative_to(folder).with_suffix("").parts]), path


def packages_imported(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Lines and the packages of ours that they import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith(f"{NAME}."):
                yield node.lineno, name.split(".")[1]


def wrong_imports(module: str, source: str) -> list[str]:
    package = module.split(".")[1]
    return [
        f"{module}:{line}: {package} may not import {other}"
        for line, other in packages_imported(module, source)
        if other != package and HEIGHT[other] >= HEIGHT[package]
    ]


def test_every_package_has_one_floor() -> None:
    found = {module.split(".")[1] for module, _ in modules()} - {"__init__"}
    assert found == set(HEIGHT)
    assert len(HEIGHT) == sum(map(len, FLOORS))


def test_no_module_imports_upwards() -> None:
    wrong = [
        line
        for module, path in modules()
        if module != f"{NAME}.__init__"  # says the version, and belongs to no floor
        for line in wrong_imports(module, path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_an_upward_import_is_seen_wherever_it_stands() -> None:
    for source in (
        "import spikegpt_neuro.energy.report",
        "from spikegpt_neuro import energy",
        "def f():\n    from spikegpt_neuro.energy import build_report",
        "if TYPE_CHECKING:\n    from spikegpt_neuro.energy.report import EnergyReport",
        "from ..energy import report",
    ):
        assert wrong_imports(f"{NAME}.backends.base", source)
        assert not wrong_imports(f"{NAME}.reports.html", source)


def test_the_documentation_draws_these_floors() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    lines = page.split("```text\n")[1].split("```")[0].splitlines()
    drawn = [set(line.split("  ")[0].split(", ")) for line in reversed(lines)]
    assert drawn == FLOORS
