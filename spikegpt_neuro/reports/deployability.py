"""A deployability report for a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from spikegpt_neuro.arithmetic.equations import FUNCTIONS
from spikegpt_neuro.decomposition.neuron_programs import OWN_NEURONS, PROGRAMS
from spikegpt_neuro.decomposition.neuron_specification import StockProgram
from spikegpt_neuro.mapping.deployability import Deployability
from spikegpt_neuro.reports.tables import table

_MOST_VIOLATIONS = 3


def deployability_summary(report: Deployability) -> list[RenderableType]:
    """Kinds of neurons, synapses, programs to write, and a verdict for each target."""
    kinds = table(
        "kind|needs|>layers|>neurons|processes|seen on Loihi 2 in",
        title="Kinds of layers on Loihi 2",
    )
    for kind in report.kinds:
        kinds.add_row(
            kind.kind, kind.need, str(kind.layers), f"{kind.neurons:,}",
            ", ".join(kind.processes) or "-", "; ".join(kind.evidence) or "-",
        )  # fmt: skip
    programs = table(
        "program|process|>processes|>neurons|>operations|>state|>payload|>inside",
        title="Processes of the fine graph",
    )
    for name, use in report.programs.items():
        entry = PROGRAMS[name]
        if isinstance(entry, StockProgram):
            cells = (entry.process, *["-"] * 4)
        else:
            operations = str(sum(entry.operations.values()))
            bits = (entry.state_bits, entry.payload_bits, entry.widest)
            cells = ("own neuron", operations, *(f"{n} bits" for n in bits))
        counts = (str(use.processes), f"{use.neurons:,}")
        programs.add_row(name, cells[0], *counts, *cells[1:])
    synapses = table(
        "layer|>weights|>bits|signs|>odd|passed|>sum at most|>accumulator|>headroom",
        title="Synapses",
    )
    for row in report.synapses:
        synapses.add_row(
            row.name, f"{row.weights:,}", str(row.weight_bits), row.sign_mode,
            f"{row.odd_weights:,}", row.passed, f"{row.bound:,}", f"{row.accumulator_bits} bits",
            f"{row.headroom_bits} bits" if row.headroom_bits >= 0 else "not proven",
        )  # fmt: skip
    own = [name for name in report.programs if name in OWN_NEURONS]
    shown: list[RenderableType] = ["", kinds]
    if report.programs:
        shown += ["", programs]
    shown += ["", synapses]
    for name in own:
        shown += ["", _program(name)]
    if own:
        shown += ["", _functions()]
    verdicts = Text("\nVerdicts\n", style="bold")
    for verdict in report.verdicts:
        verdicts.append(f"{verdict.sentence}\n", style="not bold")
        for violation in verdict.violations[:_MOST_VIOLATIONS]:
            verdicts.append(f"  - {violation}\n", style="not bold")
        if len(verdict.violations) > _MOST_VIOLATIONS:
            more = len(verdict.violations) - _MOST_VIOLATIONS
            verdicts.append(f"  - {more} more\n", style="not bold")
    return [*shown, verdicts]


def _program(name: str) -> Text:
    """An own neuron's specification."""
    entry = OWN_NEURONS[name]
    text = Text(f"Program {name}: {entry.purpose}\n", style="bold")
    lines = [f"why: {entry.why}"]
    for title, words in (
        ("receives", entry.inputs),
        ("sends", entry.outputs),
        ("state", entry.states),
        ("parameters", entry.parameters),
    ):
        if words:
            listed = (f"{word.name} {word.bits}{'s' if word.signed else 'u'}" for word in words)
            lines.append(f"{title}: {', '.join(listed)}")
    lines += [f"  {line}" for line in entry.equation.splitlines()]
    counts = ", ".join(f"{count} {kind}" for kind, count in entry.operations.items() if count)
    often = "token" if entry.gated else "time step"
    lines.append(f"a neuron and {often}: {counts or 'no operation'}")
    text.append("\n".join(f"  {line}" for line in lines), style="not bold")
    return text


def _functions() -> Text:
    """What the equations share."""
    text = Text(
        "Functions of the programs (levels_above counts the multiples of a step below a value, at "
        "most so many)\n"
    )
    text.stylize("bold")
    lines = []
    for name, (arguments, body) in FUNCTIONS.items():
        lines += [f"{name}({', '.join(arguments)})", *(f"  {x}" for x in body.splitlines())]
    text.append("\n".join(f"  {line}" for line in lines), style="not bold")
    return text
