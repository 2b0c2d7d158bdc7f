"""Published runs on Loihi 2 boards beside what this package predicts for them.

    .venv/bin/python examples/published_boards.py           # all of them, a minute
    .venv/bin/python examples/published_boards.py --json

Descriptions and measured figures are in published_boards.toml. A prediction is the range low to
high over the mappings named: the board's own way of mapping in the middle, and for cores and chips
all packings and both spreads. The table is that of docs/validation.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.energy import EnergyReport, build_report, run_text
from spikegpt_neuro.events.counters import COLUMNS, Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import PACKINGS, map_network
from spikegpt_neuro.mapping.partition import SPREADS
from spikegpt_neuro.mapping.units import Unit
from spikegpt_neuro.network import ChainInfo, Network
from spikegpt_neuro.network.schema import Port, Role

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BOARDS = Path(__file__).with_suffix(".toml")
TOKENS = 100
POWERS = "_per_chip", "_per_chip_in_system", "_per_core_in_use"
"""How coefficients that are watts end: they run for the time without the host's part of it."""


@dataclass(frozen=True)
class Row:
    """One figure: the predicted range, and the measured value, None where none could be read."""

    board: str
    role: str
    figure: str
    low: float
    value: float
    high: float
    measured: float | None

    @property
    def inside(self) -> bool | None:
        """True if the range holds the measurement."""
        return None if self.measured is None else self.low <= self.measured <= self.high

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return None if self.measured is None else self.measured / self.value

    def line(self) -> str:
        """A line of the page's table."""
        what, _, mode = self.figure.partition("_")
        title, scale = self.figure, 1.0
        if mode:
            name, scale, unit, larger = UNITS[what]
            if self.value * scale >= 1000:
                scale, unit = scale / 1000, larger
            title = f"{name}, {mode.removeprefix('joules_')} ({unit})"
        figures = [
            "-" if v is None else f"{v * scale:.3g}" if v * scale < 1000 else f"{v * scale:,.0f}"
            for v in (self.low, self.value, self.high, self.measured)
        ]
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        inside = "-" if self.inside is None else "yes" if self.inside else "**no**"
        return f"| {' | '.join((self.board, title, *figures, ratio, inside))} |"


UNITS = {
    "seconds": ("time", 1e6, "us", "ms"),
    "joules": ("energy", 1e6, "uJ", "mJ"),
    "watts": ("power", 1.0, "W", "kW"),
    "dynamic": ("dynamic energy", 1e6, "uJ", "mJ"),
}
"""Of a figure's name: what it is called, units in one of its own, the unit, and a thousand."""
HEADER = (
    "| board | figure | low | predicted | high | measured | measured / predicted | inside |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)


def read_boards(path: Path = BOARDS) -> list[dict[str, Any]]:
    """The descriptions, in order."""
    boards: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["boards"]
    return boards


def write_dense(path: Path, sizes: list[int], *, recurrent: bool) -> None:
    """A stock chain of dense layers of CUBA neurons, weights of 8 bits."""
    with h5py.File(path, "w") as file:
        for i, (before, after) in enumerate(pairwise(sizes)):
            group = file.create_group(f"layer/{i}")
            kind = b"dense_rec" if recurrent else b"dense"
            group["type"] = np.array([kind], "S10")
            group["shape"], group["inFeatures"], group["outFeatures"] = [after], before, after
            group["weight"] = _weights(after, before)
            if recurrent:
                group["weight_rec"] = _weights(after, after)
            for key, value in {
                "type": b"CUBA", "iDecay": 1024, "vDecay": 300, "vThMant": 90, "refDelay": 1,
                "gradedSpike": False,
            }.items():  # fmt: skip
                group[f"neuron/{key}"] = value


def _weights(rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Weights that need all of 8 bits and a sign."""
    weight = np.full((rows, columns), 254, np.float32)
    weight[0, 0] = -256
    return weight


def counted(network: Network, activity: float) -> Counters:
    """Counts of a run in which ``activity`` of all values of every layer are not zero."""
    layers = {}
    for layer in network.layers:
        row = dict.fromkeys(COLUMNS, 0)
        row["output_events"] = round(TOKENS * layer.output.size * activity)
        row["input_events"] = round(TOKENS * layer.operand_size * activity)
        row["synaptic_operations"] = round(TOKENS * layer.products * activity)
        row["active_updates"] = TOKENS * layer.output.size if not layer.products else 0
        layers[layer.name] = row
    return Counters(TOKENS, layers)


def shipped_pilotnet() -> Path:
    """PilotNet LIF in the lava-dl wheel."""
    ending = "gts/pilotnet_lif/network.net"
    (path,) = (str(f.locate()) for f in files("lava-dl") or () if str(f).endswith(ending))
    return Path(path)


def pilotnet() -> tuple[Network, Counters]:
    """PilotNet LIF and its image from the lava-dl wheel, 16 steps on the emulator."""
    path = shipped_pilotnet()
    network = read_netx(path, synapse_delay=False)
    image = np.load(path.with_name("image.npy")).transpose(2, 1, 0).reshape(1, -1)
    return network, run_text(Emulator(), network, np.repeat(image, 16, axis=0)).counters


def write_sdnn(path: Path) -> None:
    """PilotNet LIF's layers behind its input with sigma-delta neurons instead: the layers of the
    published PilotNet SDNN, whose input neurons the host runs."""
    with h5py.File(shipped_pilotnet()) as source, h5py.File(path, "w") as file:
        layers = source["layer"]
        for i in range(1, len(layers)):
            file.copy(layers[str(i)], f"layer/{i - 1}")
            group = file[f"layer/{i - 1}"]
            if "neuron" in group:
                del group["neuron"]
                for key, value in {"type": b"SDNN", "activation": b"relu", "vThMant": 13}.items():
                    group[f"neuron/{key}"] = value


@dataclass(frozen=True, eq=False, repr=False)
class Described(Network):
    """What a board ran in the counts a machine needs of it, where no kind of layer computes it."""

    def _problems(self) -> Iterator[str]:
        """Nothing is computed, so nothing has to fit together."""
        return iter(())


STATE_WORDS = {"words": 2, "constants": 6}
"""Of one complex state ``x <- A x + B u``, ``y = 2 Re(C x)``: x; A, B and C (Lava, proc/s4d)."""
STATE_OPERATIONS = {"multiply": 8, "add": 5, "shift": 3}
"""Of one update of it in fixed point: A x (4, 2), B u (2, 2), the real part of C x (2, 1), and the
products of each part of x and of y scaled back."""


def s4d(board: dict[str, Any]) -> tuple[Network, Counters]:
    """S4D without norms and residuals: a channel's states are one own neuron, ReLU behind it,
    a square matrix and ReLU behind that; dense layers at both ends."""
    channels, states, depth = board["channels"], board["states"], board["depth"]
    units: list[Unit] = []

    def add(name: str, size: int, part: Role, **facts: Any) -> None:
        before = (units[-1].name,) if units else ()
        unit = Unit(
            name=name, inputs=before, output=Port(size, "graded", 24, True, 1.0), program="graded",
            owner=name, place=name.split()[0], part=part, count=lambda _: {}, **facts,
        )  # fmt: skip
        units.append(unit)

    def dense(stage: str, size: int) -> None:
        axons = units[-1].output.size
        add(
            f"{stage} synapses", size, "synapse", axons=axons, synapses=axons,
            non_zero=axons * size, width=8,
        )  # fmt: skip
        add(f"{stage} sums", size, "neuron", words=size)

    add("input", board["inputs"], "input")
    dense("encoder", channels)
    for i in range(depth):
        each = {kind: states * n for kind, n in STATE_OPERATIONS.items()} | {"compare": 1}
        held = {name: words * channels * states for name, words in STATE_WORDS.items()}
        add(f"layer{i} states", channels, "neuron", each=each, **held)
        dense(f"layer{i}", channels)
    dense("decoder", board["classes"])
    network = Described(ChainInfo(), tuple(units))
    return network, counted(network, board["activity"])


def network_of(board: dict[str, Any]) -> tuple[Network, Counters]:
    """The network a board ran, and counts of a token."""
    if board["kind"] == "wheel":
        return pilotnet()
    if board["kind"] == "s4d":
        return s4d(board)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "board.net"
        if board["kind"] == "sdnn":
            write_sdnn(path)
        else:
            write_dense(path, board["sizes"], recurrent=board["kind"] == "recurrent")
        network = read_netx(path, input_shape=board.get("input_shape"))
    return network, counted(network, board["activity"])


def _scaled(report: EnergyReport, board: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Seconds, joules and watts of a token of the whole system (low, value, high)."""
    timing, mapping = report.timing, report.mapping
    assert timing is not None and mapping is not None and report.energy is not None
    copies = board.get("copies", 1)
    through = report.mode == "fall-through"
    more = board.get("more_steps", 0) if through else 0
    figures = report.profile.coefficients
    chips = board.get("powered_chips", mapping.chips * copies)
    name = "static_power_per_chip" + "_in_system" * (chips > 1)
    times, works, statics, in_use = [], [], [], []
    for end in ("low", "value", "high"):
        host = float(getattr(figures["host_round_trip_time"], end)) * 1e-9 * through
        step = float(getattr(figures["step_time"], end)) * 1e-9
        if end == "high" and mapping.chips > 1:  # steps as long as those of prefill
            step = (timing.high - host) / len(timing.each_step)
        alone = getattr(timing, end) - host + more * step
        times.append(board.get("seconds_a_token", alone * (copies if through else 1)))
        rest = [p for p in report.parts if not p.part.coefficient.endswith(POWERS)]
        work = copies * sum(getattr(p.energy, end) for p in rest)
        waiting = [p for p in rest if "waiting" in p.part.event]
        if copies > 1:  # every copy's neurons wait for all copies
            work += copies * (copies - 1) * sum(getattr(p.energy, end) for p in waiting)
        works.append(work)
        statics.append(float(getattr(figures[name], end)) * chips)
        each = float(getattr(figures["power_per_core_in_use"], end))
        in_use.append(each * len(mapping.cores) * copies)
    ends = range(3)
    dynamic = [works[i] + in_use[i] * times[i] for i in ends]
    found = {
        "seconds": times,
        "joules": [dynamic[i] + statics[i] * times[i] for i in ends],
        "dynamic_joules": dynamic,
        # powers, and from the least work in the longest time to the most in the shortest
        "watts": [statics[i] + in_use[i] + works[i] / times[2 - i] for i in ends],
    }
    return {key: (v[0], v[1], v[2]) for key, v in found.items()}


def rows_of(board: dict[str, Any]) -> list[Row]:
    """Every measured figure of a board beside its prediction."""
    measured: dict[str, float | None] = board["measured"] | dict.fromkeys(board.get("unread", ()))
    network, counters = network_of(board)
    profile = load_profile("loihi2")
    own = board.get("packing", "middle"), board.get("spread", "packed")
    mappings = {
        (packing, spread): map_network(network, profile, packing, counters, spread)
        for packing in PACKINGS
        for spread in SPREADS
    }
    mapping = mappings[own]
    # how far work is spread hangs on the overhead of a step: as far as for the shortest stated
    hidden = profile.coefficients["hidden_work_time"]
    shortest = replace(
        profile,
        coefficients={
            **profile.coefficients,
            "hidden_work_time": replace(hidden, value=hidden.low),
        },
    )
    mappings |= {
        (packing, "furthest"): map_network(network, shortest, packing, counters)
        for packing in PACKINGS
    }
    copies = board.get("copies", 1)
    found: dict[str, tuple[float, float, float]] = {}
    for key, counts in {
        "cores": {k: float(len(m.cores)) for k, m in mappings.items()},
        "chips": {k: float(m.chips) for k, m in mappings.items()},
    }.items():
        scaled = [copies * n for n in counts.values()]
        found[key] = min(scaled), copies * counts[own], max(scaled)
    for mode in board["modes"]:
        report = build_report(network, counters, profile, mode=mode, mapping=mapping)
        found |= {f"{k}_{mode}": v for k, v in _scaled(report, board).items()}
    return [
        Row(board["name"], board["role"], key, *found[key], value)
        for key, value in measured.items()
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    boards = read_boards()
    rows = [row for board in boards for row in rows_of(board)]
    if options.json:
        print(json.dumps([{**asdict(r), "inside": r.inside} for r in rows], indent=2))
        return
    print("\n".join((*HEADER, *(row.line() for row in rows))))


if __name__ == "__main__":
    main()
