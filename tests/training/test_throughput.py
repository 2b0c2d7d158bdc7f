"""Training speed at the reference size."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch

from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training.loop import Progress, Trainer, TrainingSettings


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_two_thousand_tokens_a_second_on_one_thread(tmp_path: Path, layout: str) -> None:
    """Forward, backward and optimiser, 4 x 192, context 256, batch 8; processor seconds, so that
    other work on the machine counts less.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = SpikeGPT(SpikeGPTConfiguration(layout, n_layer=4, n_embd=192, vocab_size=63))  # type: ignore[arg-type]
    initialise(model)
    text = torch.randint(0, 63, (10_000,))
    seconds = [time.process_time()]

    def note(progress: Progress) -> None:
        seconds.append(time.process_time())

    settings = TrainingSettings(steps=6, evaluate_every=100, save_every=100, rate_penalty=0.1)
    Trainer(model, settings, text, None, tmp_path / "model.pt", "{}").run(note)
    torch.set_num_threads(threads)
    # the first step compiles the kernels, the last one writes the files
    fastest = min(b - a for a, b in itertools.pairwise(seconds[1:-1]))
    assert 8 * 256 / fastest >= 2000
