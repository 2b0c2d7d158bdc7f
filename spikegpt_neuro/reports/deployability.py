"""A deployability report for a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from spikegpt_neuro.backends.loihi2.deployability import Deployability
from spikegpt_neuro.backends.loihi2.specification import SPECIFICATIONS

_MOST_VIOLATIONS = 3


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column[0] == ">" else "left")
    return made


def deployability_summary(report: Deployability) -> list[RenderableType]:
    """Kinds of neurons, synapses, programs to write, and a verdict for each target."""
    kinds = _table(
        "Kinds of layers on Loihi 2", "kind", "needs", ">layers", ">neurons", ">operations",
        ">state", ">payload", ">inside", "how",
    )  # fmt: skip
    for kind in report.kinds:
        state = f"{kind.state_words} x {kind.state_bits} bits" if kind.state_words else "-"
        kinds.add_row(
            kind.kind, kind.need, str(kind.layers), f"{kind.neurons:,}",
            f"{kind.operations_per_neuron:.0f}", state, f"{kind.payload_bits} bits",
            f"{kind.intermediate_bits} bits" if kind.intermediate_bits else "-", kind.how,
        )  # fmt: skip
    synapses = _table(
        "Synapses", "layer", ">weights", ">bits", "signs", ">odd", "passed", ">sum at most",
        ">accumulator", ">headroom",
    )  # fmt: skip
    for row in report.synapses:
        synapses.add_row(
            row.name, f"{row.weights:,}", str(row.weight_bits), row.sign_mode,
            f"{row.odd_weights:,}", row.passed, f"{row.bound:,}", f"{row.accumulator_bits} bits",
            f"{row.headroom_bits} bits" if row.headroom_bits >= 0 else "not proven",
        )  # fmt: skip
    shown: list[RenderableType] = ["", kinds, "", synapses]
    for kind in report.kinds:
        if kind.need == "microcode":
            shown += ["", _program(kind.kind)]
    verdicts = Text("\nVerdicts\n", style="bold")
    for verdict in report.verdicts:
        verdicts.append(f"{verdict.sentence}\n", style="not bold")
        for violation in verdict.violations[:_MOST_VIOLATIONS]:
            verdicts.append(f"  - {violation}\n", style="not bold")
        if len(verdict.violations) > _MOST_VIOLATIONS:
            more = len(verdict.violations) - _MOST_VIOLATIONS
            verdicts.append(f"  - {more} more\n", style="not bold")
    return [*shown, verdicts]


def _program(kind: str) -> Text:
    """One neuron program's specification."""
    specification = SPECIFICATIONS[kind]
    text = Text(f"Program {kind}: {specification.summary}\n", style="bold")
    words = [
        ("state", tuple((name, bits) for name, bits, _ in specification.state)),
        ("parameters", specification.parameters),
        ("tables", tuple((f"{name}[{entries}]", bits) for name, entries, bits
                         in specification.tables)),
    ]  # fmt: skip
    for title, items in words:
        if items:
            listed = ", ".join(f"{name} {bits} bits" for name, bits in items)
            text.append(f"  {title}: {listed}\n", style="not bold")
    for line in specification.update:
        text.append(f"  {line}\n", style="not bold")
    counts = ", ".join(f"{count} {name}" for name, count in specification.operations.items())
    text.append(f"  a neuron and token: {counts}", style="not bold")
    return text
