"""Compare float models on one text, window by window: bits per character, events, additions.

    python examples/spike-driven-comparison.py examples/kjv-4x192/kjv-valid.txt \\
        examples/spike-driven-graded/graded.pt examples/spike-driven-binary/binary.pt

The first model compared against is always the released layout, examples/kjv-4x192. Windows of 256
characters, state reset at each. With --int8, weight matrices are rounded to int8 per output row.
Energy: 45 nm int8, 0.1 pJ an addition, 0.3 pJ a multiply-accumulate (Horowitz, ISSCC 2014), of the
projections and the head only; graded spikes as repeated additions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training.checkpoint import load_model
from spikegpt_neuro.training.data import read_text, token_tensor
from spikegpt_neuro.training.evaluation import Evaluation, evaluate, paired_difference
from spikegpt_neuro.vocabulary import read_vocabulary

REFERENCE = Path(__file__).parent / "kjv-4x192"
ADDITION, MULTIPLICATION = 0.1e-3, 0.3e-3  # nanojoules
CONTEXT = 256


def reference_model() -> SpikeGPT:
    """The released layout, trained with the upstream code."""
    model = SpikeGPT(SpikeGPTConfiguration("upstream", n_layer=4, n_embd=192, vocab_size=63))
    model.load_state_dict(torch.load(REFERENCE / "kjv-4x192.pth", weights_only=True))
    return model.eval()


@torch.no_grad()
def round_rows(model: SpikeGPT) -> None:
    """Round every projection to int8 with one scale an output row."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            scale = module.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
            module.weight.copy_(torch.round(module.weight / scale) * scale)


def energy(found: Evaluation) -> float:
    """Nanojoules a token of the projections and the head."""
    return found.additions_per_token * ADDITION + found.multiplications_per_token * MULTIPLICATION


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--rates", action="store_true", help="firing rate of every LIF")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    vocabulary = read_vocabulary(REFERENCE / "kjv-4x192.vocab.json")
    tokens = token_tensor(
        vocabulary.encode(read_text(chosen.text)), vocabulary.size, CONTEXT, str(chosen.text)
    )
    base: Evaluation | None = None
    for name, model in [
        ("released layout", reference_model()),
        *((str(path), load_model(path)) for path in chosen.models),
    ]:
        if chosen.int8:
            round_rows(model)
        found = evaluate(model, tokens, CONTEXT)
        base = base or found
        mean, error = paired_difference(found, base)
        print(
            f"{name}: {found.bits_per_character:.4f} bits per character, "
            f"{mean:+.4f} +- {error:.4f} against the released layout; "
            f"a token: {found.events_per_token:.0f} synaptic events, "
            f"{found.additions_per_token:.0f} unit additions, "
            f"{found.multiplications_per_token:.0f} multiplications, {energy(found):.1f} nJ; "
            f"mean firing rate {found.mean_rate:.4f}"
        )
        if chosen.rates:
            for lif, rate in found.firing_rates.items():
                print(f"    {lif}: {rate:.4f}")


if __name__ == "__main__":
    main()
