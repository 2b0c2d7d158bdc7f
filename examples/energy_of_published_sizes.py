"""What the published model sizes would cost on Loihi 2: cores, chips, joules and time per token.

    .venv/bin/python examples/energy_of_published_sizes.py            # 46M and 216M, both layouts
    .venv/bin/python examples/energy_of_published_sizes.py --quick    # a tiny class, seconds
    .venv/bin/python examples/energy_of_published_sizes.py --for time # mappings of least time

Weights are random and activity is set by hand (15 % of LIF neurons fire, 40 % of the squared ReLU's
outputs are not zero; both are near what the trained example shows), because no checkpoint of these
sizes is needed to know shapes. Energies are estimates with Loihi 1's coefficients as stand-ins.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import build_report, run_text
from spikegpt_neuro.energy.mapping_choice import AIMS, Aim, choose_mapping
from spikegpt_neuro.energy.timing import MODES
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import PACKINGS, map_network
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.reports.numbers import engineering, share

SIZES = {"46M": (12, 512, 5_458, 100), "216M": (18, 768, 50_277, 40)}
QUICK = {"tiny": (2, 64, 100, 20)}
COLUMNS = (
    "size", "layout", "packing", "cores", "chips", "mode", "energy/token", "range",
    "time/token", "largest part",
)  # fmt: skip


CHOICE = (
    "size", "layout", "mapping", "cores", "chips", "prefill: time", "energy", "generation: time",
    "energy",
)  # fmt: skip


def counted(layout: str, shape: tuple[int, int, int, int]) -> tuple[Network, Counters]:
    """A random network of that shape, and what it did with a random text."""
    n_layer, n_embd, vocabulary, tokens = shape
    levels = 3 if layout == "spike-driven" else 1
    network = random_network(
        RandomShape(
            layout=layout, n_layer=n_layer, n_embd=n_embd, vocabulary_size=vocabulary,
            levels=levels, binary_embedding=vocabulary < 10_000,
        )
    )  # fmt: skip
    text = np.random.default_rng(0).integers(0, vocabulary, tokens).tolist()
    return network, run_text(Emulator(), network, text, windows=1).counters


def add_rows(table: Table, size: str, layout: str, shape: tuple[int, int, int, int]) -> None:
    network, counters = counted(layout, shape)
    profile = load_profile("loihi2")
    for packing in PACKINGS:
        mapping = map_network(network, profile, packing, counters)
        for mode in ("pipelined", "fall-through"):
            report = build_report(network, counters, profile, mode=mode, mapping=mapping)
            energy, timing = report.energy, report.timing
            assert energy is not None and timing is not None
            name, part = max(report.by_category.items(), key=lambda item: item[1].value)
            table.add_row(
                size, layout, packing, str(len(mapping.cores)), str(mapping.chips),
                "prefill" if mode == "pipelined" else "generation",
                engineering(energy.value, "J"),
                f"{engineering(energy.low, 'J')} .. {engineering(energy.high, 'J')}",
                engineering(timing.value, "s"), f"{name} {share(part.value / energy.value)}",
            )  # fmt: skip


def add_choice(table: Table, size: str, layout: str, shape: tuple[int, int, int, int],
               aim: Aim) -> None:  # fmt: skip
    """The mapping of least time or energy beside the simple ones, middle packing."""
    network, counters = counted(layout, shape)
    choice = choose_mapping(network, load_profile("loihi2"), counters, aim)
    for name, priced in choice.rows:
        figures = []
        for mode in MODES:
            joules = priced.joules(mode)
            assert joules is not None
            figures += [engineering(priced.seconds(mode), "s"), engineering(joules, "J")]
        cores, chips = len(priced.mapping.cores), priced.mapping.chips
        table.add_row(size, layout, name, str(cores), str(chips), *figures)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--for", dest="aim", choices=AIMS)
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else SIZES
    table = Table(*(CHOICE if arguments.aim else COLUMNS), title="Loihi 2, estimates")
    for size, shape in sizes.items():
        for layout in ("upstream", "spike-driven"):
            if arguments.aim:
                add_choice(table, size, layout, shape, arguments.aim)
            else:
                add_rows(table, size, layout, shape)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
