"""Training: tokens a second of both layouts, and our LIF beside SLAYER's."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import paired_ratio, rounds, summary
from benchmarks.studies import Plan
from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.slayer import blocks as slayer_blocks
from spikegpt_neuro.training.loop import Progress, Trainer
from spikegpt_neuro.training.settings import TrainingSettings

BATCH, CONTEXT, VOCABULARY = 8, 256, 63
LIF_SHAPE = (1, 768, 256)
"""Batch, channels, time steps."""
UPSTREAM_LIF = {"threshold": 2.0, "current_decay": 1.0, "voltage_decay": 0.5}

clock = time.process_time
"""Processor seconds of all threads: torch may run backward passes in one of its own."""


def training(plan: Plan) -> dict[str, Any]:
    """Forward, backward and optimiser of 4 x 192, one thread; LIF of 768 channels, 256 steps."""
    layers, width = (1, 32) if plan.quick else (4, 192)
    results: dict[str, Any] = {"model": f"{layers} x {width}", "tokens_per_second": {}}
    for layout, integers in itertools.product(("upstream", "spike-driven"), (False, True)):
        name = f"{layout}, integer-true" if integers else layout
        plan.say(f"training: {name}")
        speeds = _speeds(layout, layers, width, integers, max(3, plan.rounds))
        results["tokens_per_second"][name] = summary(speeds)
    plan.say("training: LIF")
    turns = {
        "ours": _lif_turn(slayer_blocks.Neuron),
        "slayer": _lif_turn(import_lava_dl("lava.lib.dl.slayer.neuron.cuba").Neuron),
    }
    for turn in turns.values():
        turn()
    figures = rounds(turns, plan.rounds)
    results["lif_seconds"] = {name: summary(values) for name, values in figures.items()}
    results["lif_times_slayer"] = paired_ratio(figures["slayer"], figures["ours"])
    return results


def _speeds(layout: str, layers: int, width: int, integers: bool, steps: int) -> list[float]:
    """Tokens per processor second of each step but the first, which compiles and calibrates."""
    torch.manual_seed(0)
    model = SpikeGPT(SpikeGPTConfiguration(layout, layers, width, VOCABULARY))  # type: ignore[arg-type]
    initialise(model)
    text = torch.randint(0, VOCABULARY, (20_000,))
    # one step more than is timed: the last one writes the files
    settings = TrainingSettings(
        steps=steps + 2, batch=BATCH, context=CONTEXT, evaluate_every=1000, save_every=1000,
        rate_penalty=0.1, integer_steps=steps + 2 if integers else 0,
    )  # fmt: skip
    seconds: list[float] = []

    def note(progress: Progress) -> None:
        seconds.append(clock())

    with tempfile.TemporaryDirectory() as folder:
        Trainer(model, settings, text, None, Path(folder) / "model.pt", "{}").run(note)
    return [BATCH * CONTEXT / (b - a) for a, b in itertools.pairwise(seconds[:-1])]


def _lif_turn(kind: Any) -> Callable[[], float]:
    """A turn: processor seconds of one forward and backward pass."""
    neuron = kind(**UPSTREAM_LIF)
    current = torch.randn(LIF_SHAPE) * 1.5

    def turn() -> float:
        leaf = current.clone().requires_grad_()
        begin = clock()
        neuron(leaf).sum().backward()
        return clock() - begin

    return turn
