"""The section of the page that answers the claim of five times less energy."""

from __future__ import annotations

from spikegpt_neuro.energy import Study
from spikegpt_neuro.energy.baselines import Comparison
from spikegpt_neuro.energy.paper_formula import PaperFormula
from spikegpt_neuro.reports import charts
from spikegpt_neuro.reports.elements import bullets, figure, fold, table
from spikegpt_neuro.reports.numbers import count, engineering, share
from spikegpt_neuro.reports.svg import draw, escape


def claim_section(study: Study) -> str:
    """Answers for chips and machines, for arithmetic, and by the paper's own table."""
    text = []
    if study.claims:
        text.append(f"<h3>On chips</h3>{bullets(c.sentence for c in study.claims)}")
    text += [_arithmetic(c, f"opponents-{i}") for i, c in enumerate(study.comparisons)]
    if study.paper is not None:
        text.append(f"<h3>The SpikeGPT paper's own table</h3>{_paper(study.paper)}")
    return "".join(text)


def _arithmetic(comparison: Comparison, name: str) -> str:
    rows = [
        (
            b.name,
            count(b.accumulates_per_token),
            count(b.multiply_accumulates_per_token),
            engineering(b.joules_per_token, "J"),
            "" if b.ratio is None else f"{b.ratio:.2f}",
            ""
            if b.joules_with_memory_per_token is None
            else engineering(b.joules_with_memory_per_token, "J"),
            "" if b.ratio_with_memory is None else f"{b.ratio_with_memory:.2f}",
            engineering(b.joules_whole_per_token, "J"),
            "" if b.ratio_whole is None else f"{b.ratio_whole:.2f}",
            b.note,
        )
        for b in comparison.baselines
    ]
    return (
        f"<h3>Arithmetic: {escape(comparison.profile)}</h3>{bullets(comparison.answers)}"
        + figure(
            draw(charts.opponents(comparison), name),
            "Energy of a token's matrix products beside opponents",
        )
        + fold(
            "Every opponent: operations and energies",
            table(
                f"Opponents, {comparison.profile}",
                "network|AC|MAC|arithmetic|ratio|with memory|ratio|whole bill|ratio|note*",
                rows,
            ),
        )
    )


def paper_sentences(paper: PaperFormula) -> list[str]:
    """What the paper's table gives with the measured rates, and what to know before quoting it."""
    low, high = paper.ratio_range
    ratio = "no spike, so no ratio" if paper.ratio is None else f"{paper.ratio:.1f} times less"
    spread = "" if low is None or high is None else f" ({low:.1f} to {high:.1f} by layer)"
    return [
        f"T = {paper.tokens} tokens, d = {paper.width}, {paper.blocks} blocks; measured spike rate "
        f"R = {share(paper.rate)}, by layer {share(paper.lowest_rate)} to "
        f"{share(paper.highest_rate)}; E_AC = {paper.accumulate_picojoules:g} pJ, E_MAC = "
        f"{paper.multiply_accumulate_picojoules:g} pJ.",
        f"{engineering(paper.vanilla_joules, 'J')} against "
        f"{engineering(paper.spiking_joules, 'J')} a sequence: {ratio}{spread}.",
        "The table has no output projection, normalisation, neuron update, embedding, head, memory "
        "or static power, and takes spikes as operands of every projection. The paper's 32.2 times "
        "does not reproduce: its spiking side does within 2 %, its vanilla side does not.",
    ]


def _paper(paper: PaperFormula) -> str:
    rows = [
        (
            f"{row.part}: {row.operation}",
            row.vanilla_formula,
            engineering(row.vanilla_joules, "J"),
            row.spiking_formula,
            "-" if row.spiking_formula == "-" else engineering(row.spiking_joules, "J"),
        )
        for row in paper.rows
    ]
    total = (
        "sum", "", engineering(paper.vanilla_joules, "J"), "",
        engineering(paper.spiking_joules, "J"),
    )  # fmt: skip
    return bullets(paper_sentences(paper)) + table(
        "The paper's formulae a block, and energy a sequence over all blocks",
        "operation|vanilla GPT*|energy|SpikeGPT*|energy",
        [*rows, total],
    )
