"""Mappings and capacities of a chip, for people to read in a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from spikegpt_neuro.energy.mapping_choice import MappingChoice
from spikegpt_neuro.energy.timing import MODE_TITLES, MODES
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import (
    RULES,
    Capacity,
    Mapping,
    Size,
    Violation,
    unchecked_rules,
)
from spikegpt_neuro.reports.numbers import count, engineering, share
from spikegpt_neuro.reports.tables import table, titled_lines

_MOST_ROWS = 12
_MOST_EXAMPLES = 3
_MOST_CORES = 5


def mapping_summary(mapping: Mapping, sizes: tuple[Size, ...]) -> list[RenderableType]:
    """A mapping: sizes under every packing, traffic, chips, stages, broken rules."""
    packings = table(
        "packing|>weights/core|>cores|>chips|>chips without head|>smallest system",
        title=f"{mapping.profile.name}: size",
    )
    nothing = "none large enough" if mapping.profile.systems else "-"
    for size in sizes:
        packings.add_row(
            size.packing + (" (shown below)" if size.packing == mapping.packing else ""),
            count(size.weights_per_core), count(size.cores), str(size.chips),
            str(size.chips_without_head), size.system or nothing,
        )  # fmt: skip
    chips = table("chip|>weights|>full|>neurons|>full|>bytes|>full", title="Chips")
    for chip in range(min(mapping.chips, _MOST_ROWS)):
        use = mapping.use_of_chip(chip)
        chips.add_row(
            str(chip), count(use.weights), share(use.weight_share), count(use.neurons),
            "-" if use.neuron_share is None else share(use.neuron_share), count(use.bytes),
            "-" if use.byte_share is None else share(use.byte_share),
        )  # fmt: skip
    if mapping.chips > _MOST_ROWS:
        chips.add_row(f"{mapping.chips - _MOST_ROWS} more")
    cores = table("core|>chip|>weights|>full|>neurons|>bytes|>full|>holds", title="Fullest cores")
    fullest = sorted(range(len(mapping.cores)), key=lambda i: -mapping.use_of_core(i).weight_share)
    for i in fullest[:_MOST_CORES]:
        use = mapping.use_of_core(i)
        held = ", ".join(f"{s.layer} {s.begin}-{s.end - 1}" for s in mapping.cores[i].slices)
        cores.add_row(
            str(i), str(int(mapping.placement.chip[i])), count(use.weights),
            share(use.weight_share), count(use.neurons), count(use.bytes),
            "-" if use.byte_share is None else share(use.byte_share), held,
        )  # fmt: skip
    stages = table("stage|>cores", title="Stages")
    for stage, number in mapping.cores_by_stage.items():
        stages.add_row(stage, str(number))
    lines = [f"{count(mapping.traffic.total)} packets a token"]
    if mapping.has_mesh:
        ours, simple = mapping.hops.total, mapping.baseline_hops.total
        gain = simple / ours if ours else 1.0
        lines.append(
            f"{count(ours)} hops a token; {count(simple)} with cores in execution order "
            f"({gain:.2f} times more)"
        )
    lines.append(f"{count(mapping.hops.chip_crossings)} packets a token leave their chip")
    if mapping.traffic.assumed_dense:
        lines.append("no run was given: every value counts as an event")
    traffic = titled_lines("Traffic", lines)
    return [packings, stages, chips, cores, traffic, _rules(mapping.violations, mapping.profile)]


def choice_summary(choice: MappingChoice) -> list[RenderableType]:
    """Time and energy of the chosen mapping beside those of simple ones, and who wins."""
    rows = table(
        "mapping|>cores|>chips|>prefill: time|>energy|>generation: time|>energy",
        title=f"Least {choice.aim} a token, estimated",
    )
    for name, priced in choice.rows:
        figures = []
        for mode in MODES:
            joules = priced.joules(mode)
            figures += [
                engineering(priced.seconds(mode), "s"),
                "-" if joules is None else engineering(joules, "J"),
            ]
        rows.add_row(name, str(len(priced.mapping.cores)), str(priced.mapping.chips), *figures)
    found = choice.chosen.mapping.spread
    lines = []
    for name, priced in choice.rows[:-1]:
        gains = []
        for mode in MODES:
            gain = choice.gain(choice.aim, mode, priced)
            if gain is not None:
                gains.append(f"{gain:.2f} times the {choice.aim} in {MODE_TITLES[mode]}")
        lines.append(f"{name}: {', '.join(gains)}")
    if found != choice.aim:
        lines.append(f"none of the {choice.looked_at} mappings priced is better than {found}")
    return [rows, titled_lines("Against the mapping chosen", lines)]


def _rules(violations: tuple[Violation, ...], profile: Profile) -> Text:
    """Broken design rules, a few examples of each, and the rules nobody can check."""
    unknown = unchecked_rules(profile)
    open_rules = [f"not checked, no limit is known: {', '.join(unknown)}"] if unknown else []
    if not violations:
        checked = len(RULES) - len(unknown)
        title = f"{checked} of {len(RULES)} design rules were checked, and hold"
        if not checked:
            title = "No design rule could be checked"
        return titled_lines(title, open_rules)
    rules: dict[str, list[str]] = {}
    for violation in violations:
        rules.setdefault(violation.rule, []).append(f"{violation.subject}: {violation.message}")
    broken = []
    for rule, sentences in rules.items():
        broken += [f"{rule}: {sentence}" for sentence in sentences[:_MOST_EXAMPLES]]
        if len(sentences) > _MOST_EXAMPLES:
            broken.append(f"{rule}: {len(sentences) - _MOST_EXAMPLES} more")
    return titled_lines(f"Broken design rules ({len(violations)})", broken + open_rules)


def capacity_summary(capacity: Capacity) -> list[RenderableType]:
    """What a network needs of a target whose cores are not described."""
    rows = table(
        "amount|>needed|>a chip has|>chips", title=f"{capacity.profile.name}: capacity of one chip"
    )
    for need in capacity.needs:
        rows.add_row(
            need.what,
            count(need.needed),
            "not published" if need.limit is None else count(need.limit),
            "-" if need.chips is None else str(need.chips),
        )
    return [rows, _rules(capacity.violations, capacity.profile)]
