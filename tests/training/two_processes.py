"""Started in two processes by ``test_devices.py``; a failed assertion fails the launch.

Arguments: a text file and a folder.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import accelerate
import numpy as np
import torch

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.data import draw_batch, token_tensor
from spikegpt_neuro.training.loop import Progress, Trainer
from spikegpt_neuro.training.optimiser import Rates, make_optimisers, schedule, set_share
from spikegpt_neuro.training.settings import TrainingSettings

CONTEXT, VOCABULARY, BATCH = 16, 5, 3
TEXT = token_tensor(np.arange(2000) * 3 % VOCABULARY, VOCABULARY, CONTEXT, "text")


def make(layout: str) -> SpikeGPT:
    torch.manual_seed(1)
    model = SpikeGPT(SpikeGPTConfiguration(layout, 2, 16, VOCABULARY))  # type: ignore[arg-type]
    initialise(model)
    return model


def settings(steps: int, **choices: object) -> TrainingSettings:
    return TrainingSettings(
        steps=steps, batch=BATCH, context=CONTEXT, save_every=2, evaluate_every=100,
        rates=Rates(adam=5e-3), **choices,  # type: ignore[arg-type]
    )  # fmt: skip


class Interrupted(Exception):
    pass


def one_step_is_that_of_both_batches_together(folder: Path, rank: int) -> None:
    # the layout without batch statistics: those are each process's own
    model = make("upstream")
    trainer = Trainer(
        model, settings(1, dropout=0.0), TEXT, None, folder / "one.pt", "{}",
        accelerator=accelerate.Accelerator(cpu=True),
    )  # fmt: skip
    assert (trainer.rank, trainer.processes) == (rank, 2)
    assert trainer.run().tokens == 2 * BATCH * CONTEXT

    alone = make("upstream")
    optimisers = make_optimisers(alone, Rates(adam=5e-3))
    batches = [
        draw_batch(TEXT, BATCH, CONTEXT, np.random.default_rng([42, process]))
        for process in range(2)
    ]
    assert not torch.equal(batches[0][0], batches[1][0])
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    loss = torch.nn.functional.cross_entropy(alone(inputs)[0].flatten(0, 1), targets.flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(alone.parameters(), 1.0)
    set_share(optimisers, schedule(1, 1, 0))
    for optimiser in optimisers:
        optimiser.step()
    before = torch.cat([p.flatten() for p in make("upstream").parameters()])
    expected, found = (
        torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (alone, model)
    )
    moved = (expected - before).abs()
    # Adam's first step is nearly a gradient's sign: where it is 0 but for rounding, all is possible
    agreeing = ((found - expected).abs() < 0.01 * moved.max()).float().mean()
    assert moved.max() > 0 and agreeing > 0.99, agreeing


def resumed_equals_uninterrupted(folder: Path) -> None:
    def train(path: Path, model: SpikeGPT) -> Trainer:
        return Trainer(
            model, settings(5, dropout=0.2, integer_steps=2), TEXT, None, path, "{}",
            accelerator=accelerate.Accelerator(cpu=True),
        )  # fmt: skip

    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            raise Interrupted

    whole = make("spike-driven")
    train(folder / "whole.pt", whole).run()
    with contextlib.suppress(Interrupted):
        train(folder / "broken.pt", make("spike-driven")).run(interrupt)
    again = make("spike-driven")
    resumed = train(folder / "broken.pt", again)
    resumed.resume()
    assert resumed.step == 2
    resumed.run()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def main() -> None:
    text, folder = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    rank = accelerate.Accelerator(cpu=True).process_index
    one_step_is_that_of_both_batches_together(folder, rank)
    resumed_equals_uninterrupted(folder)
    app(
        ["train", str(text), "-o", str(folder / "command.pt"), "--valid", str(text), "--layers",
         "1", "--width", "16", "--context", "16", "--steps", "2", "--accelerate", "--quiet"],
        standalone_mode=False,
    )  # fmt: skip
    accelerate.Accelerator(cpu=True).wait_for_everyone()
    assert checkpoint.load_model(folder / "command.pt").configuration.n_layer == 1


if __name__ == "__main__":
    main()
