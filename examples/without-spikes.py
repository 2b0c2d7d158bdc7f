"""Train the honest opponent: the released layout with its LIF neurons left out, a plain RWKV.

    python examples/without-spikes.py OUTPUT.pt [--seed 42] [--steps 2925]

Everything else (embedding, text, windows, optimiser, rate, schedule) is the recipe of the
spike-driven examples, so that what is compared is the spikes. Prints bits per character over the
whole validation text, windows of 256, state reset at each. Such a model has no spiking network to
export to: OUTPUT.pt holds its weights, which only this script can judge (``--judge OUTPUT.pt``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.lif import NeuronConstants
from spikegpt_neuro.model.passage import Passage
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training.corpus import read_corpus
from spikegpt_neuro.training.evaluation import evaluate
from spikegpt_neuro.training.loop import Progress, Trainer, TrainingSettings
from spikegpt_neuro.training.optimiser import Rates

TEXT = Path(__file__).parent / "kjv-4x192"
CONTEXT = 256


def _no_neuron(passage: Passage, name: str, current: torch.Tensor, neuron: NeuronConstants) -> (
    torch.Tensor
):  # fmt: skip
    """In the place of a population of neurons: its input current, unchanged."""
    return passage.see(name, current)


def main() -> None:
    """Train, or judge what was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--steps", type=int, default=2925)
    parser.add_argument("--judge", action="store_true", help="train nothing, only judge OUTPUT")
    parser.add_argument("--text", type=Path, default=TEXT / "kjv-valid.txt")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    Passage.lif = _no_neuron  # type: ignore[method-assign]
    text = read_corpus(
        TEXT / "kjv-train.txt", chosen.text, str(TEXT / "kjv-4x192.vocab.json"), CONTEXT
    )
    configuration = SpikeGPTConfiguration(
        "upstream", n_layer=4, n_embd=192, vocab_size=text.vocabulary.size, embedding="real"
    )
    torch.manual_seed(chosen.seed)
    model = SpikeGPT(configuration)
    if chosen.judge:
        content = torch.load(chosen.output, weights_only=True)
        model.load_state_dict(content["state_dict"])
    else:
        initialise(model)
        settings = TrainingSettings(
            steps=chosen.steps, context=CONTEXT, warm_up=30, seed=chosen.seed,
            evaluate_every=225, rates=Rates("adam", 4e-3, neuron_factor=3.0),
        )  # fmt: skip
        trainer = Trainer(
            model, settings, text.train, text.valid, chosen.output, text.vocabulary.text
        )
        trainer.run(_report)
    found = evaluate(model, text.valid, CONTEXT)
    print(f"{chosen.output}: {found.bits_per_character:.4f} bits per character on {chosen.text}")


def _report(progress: Progress) -> None:
    if progress.evaluation is not None:
        print(
            f"step {progress.step}: training {progress.bits_per_character:.3f}, "
            f"valid {progress.evaluation.bits_per_character:.4f}, "
            f"{progress.seconds_left:.0f} s left",
            flush=True,
        )


if __name__ == "__main__":
    main()
