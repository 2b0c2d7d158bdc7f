"""What training in the export's integers buys: the same steps with and without it.

    python examples/integer-true-comparison.py examples/kjv-4x192/kjv-train.txt \\
        examples/kjv-4x192/kjv-valid.txt examples/spike-driven-graded/graded.pt --activation-bits 3

A checkpoint of this project's format or a released one (then with --vocab) goes on training twice
from the same windows, at a low rate, without dropout: in real numbers, and in integers. Each result
is quantised and judged as the integer network that `export` writes.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path

import torch

from spikegpt_neuro.converters.builder import QuantisationSettings
from spikegpt_neuro.training.checkpoint import load
from spikegpt_neuro.training.data import token_tensor
from spikegpt_neuro.training.evaluation import evaluate
from spikegpt_neuro.training.integer_true import IntegerForward, calibrate
from spikegpt_neuro.training.loop import Trainer
from spikegpt_neuro.training.optimiser import Rates
from spikegpt_neuro.training.settings import TrainingSettings
from spikegpt_neuro.training.start import read_start
from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

CONTEXT = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--vocab", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--neuron-factor", type=float, default=3.0)
    parser.add_argument("--rate-penalty", type=float, default=0.0)
    parser.add_argument("--activation-bits", type=int)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--characters", type=int, default=25_601, help="judged on; 0: all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.vocab is None:
        vocabulary = parse_vocabulary(load(given.checkpoint)["vocabulary"])
    else:
        vocabulary = read_vocabulary(given.vocab)
    start = read_start(given.checkpoint, vocabulary.size)
    train, valid = (
        token_tensor(
            vocabulary.encode(path.read_text("utf-8")), vocabulary.size, CONTEXT, str(path)
        )
        for path in (given.train, given.valid)
    )
    valid = valid[: given.characters or None]
    bits = QuantisationSettings(given.activation_bits)
    shown = evaluate(start, valid, CONTEXT)
    print(f"start, float: {shown.bits_per_character:.4f} bits per character")
    shown = evaluate(start, valid, CONTEXT, IntegerForward(calibrate(start, train, bits)))
    print(f"start, integers: {shown.bits_per_character:.4f}")
    for integer_steps in (0, given.steps):
        model = copy.deepcopy(start)
        settings = TrainingSettings(
            steps=given.steps, context=CONTEXT, dropout=0.0, seed=given.seed,
            warm_up=min(10, given.steps), save_every=given.steps, evaluate_every=given.steps,
            rate_penalty=given.rate_penalty, integer_steps=integer_steps,
            activation_bits=given.activation_bits,
            rates=Rates(adam=given.learning_rate, neuron_factor=given.neuron_factor),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            trainer = Trainer(model, settings, train, None, Path(folder) / "model.pt", "{}")
            last = trainer.run()
            seconds = time.process_time() - began
        integers = trainer.integers or IntegerForward(calibrate(model, train, bits))
        shown = evaluate(model, valid, CONTEXT, integers)
        what = "in integers" if integer_steps else "in real numbers"
        print(
            f"{given.steps} steps {what}, integers: {shown.bits_per_character:.4f}, "
            f"{shown.events_per_token:.0f} synaptic events a token; "
            f"{last.tokens / seconds:.0f} tokens per processor second"
        )


if __name__ == "__main__":
    main()
