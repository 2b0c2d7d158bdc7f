"""Hold shipped examples unit by unit against the real Lava graph that boards would load.

    .venv/bin/python tests/mapping/compare_with_lava.py                    # all four, 8 tokens
    .venv/bin/python tests/mapping/compare_with_lava.py rwkv-4x96 --tokens 2 --mode pipelined

Every population's neurons and spikes, every projection's weights, operations and events. Exit code
1 where one differs. The suite runs the same comparison on small networks of all kinds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pytest
from unit_checks import compare_fine

import spikegpt_neuro as sn
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.opening import vocabulary_of

EXAMPLES = Path(__file__).parents[2] / "examples"
KJV = EXAMPLES / "kjv-4x192"
MODELS = {
    "rwkv-4x96": EXAMPLES / "rwkv-4x96/rwkv.pt",
    "spike-driven-parallel": EXAMPLES / "spike-driven-parallel/parallel.pt",
    "spike-driven-graded": EXAMPLES / "spike-driven-graded/graded.pt",
    "kjv-4x192": KJV / "kjv-4x192.pth",
}
MODES = ("pipelined", "fall-through")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("examples", nargs="*", choices=[[], *MODELS], metavar="EXAMPLE")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--mode", choices=("both", *MODES), default="both")
    chosen = parser.parse_args()
    text, wrong = (KJV / "kjv-valid.txt").read_text(), 0
    for name in chosen.examples or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.net"
            sn.export(
                MODELS[name], path, calibration=KJV / "kjv-valid.txt",
                vocabulary=KJV / "kjv-4x192.vocab.json" if name == "kjv-4x192" else None,
                layout="rwkv" if name == "rwkv-4x96" else "auto",
            )  # fmt: skip
            network = as_language_model(sn.load(path))
            tokens = vocabulary_of(network, None).encode(text[:10_000])[: chosen.tokens].tolist()
            for mode in MODES if chosen.mode == "both" else (chosen.mode,):
                started = time.monotonic()
                try:
                    with pytest.MonkeyPatch.context() as patch:
                        found = compare_fine(network, tokens, mode, patch)
                except AssertionError as problem:
                    wrong += 1
                    print(f"{name}, {mode}: DIFFERS: {problem}", flush=True)
                    continue
                print(
                    f"{name}, {mode}, {len(tokens)} tokens: equal: {found.populations} populations "
                    f"of {found.neurons:,} neurons, {found.projections} projections of "
                    f"{found.weights:,} weights, {found.operations:,} operations, "
                    f"{found.spikes:,} spikes ({time.monotonic() - started:.0f} s)",
                    flush=True,
                )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
