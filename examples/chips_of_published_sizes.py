"""Loihi 2 chips that the published sizes fill, by bits a weight and the share of weights pruned.

    .venv/bin/python examples/chips_of_published_sizes.py               # 216M, a minute
    .venv/bin/python examples/chips_of_published_sizes.py --size 46M --weight-bits 3 --prune 0 0.6
    .venv/bin/python examples/chips_of_published_sizes.py --quick      # a tiny class, seconds

Weights are random, and of every row the same share is set to 0: cores and chips follow from how
many weights are left, not from which. What such pruning costs is measured on trained models
(docs/few-bits.md).
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from spikegpt_neuro.arithmetic.packed import store
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping.cores import PACKINGS
from spikegpt_neuro.mapping.machine import machine_of
from spikegpt_neuro.mapping.partition import partition
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network

SIZES = {"46M": (12, 512, 5_458), "216M": (18, 768, 50_277), "tiny": (2, 64, 100)}
LAYOUTS = ("upstream", "spike-driven")
COLUMNS = ("size", "layout", "packing", "bits", "pruned", "cores", "chips")
PRUNED = (0.0, 0.6, 0.7, 0.71, 0.75)


def pruned(network: LanguageModel, share: float) -> LanguageModel:
    """``network`` with so many weights of every row 0 and no others."""
    rng = np.random.default_rng(0)
    layers = list(network.layers)
    for i, layer in enumerate(layers):
        if isinstance(layer, Dense):
            weight = np.array(layer.weight)
            weight[weight == 0] = 1
            left = round(weight.shape[1] * (1 - share))
            weight[:, rng.permutation(weight.shape[1])[left:]] = 0
            layers[i] = replace(layer, weight=store(weight, layer.weight_bits))
    return replace(network, layers=tuple(layers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="216M")
    parser.add_argument("--weight-bits", type=int, default=4)
    parser.add_argument("--prune", type=float, nargs="+", default=PRUNED, metavar="P")
    parser.add_argument("--packing", choices=PACKINGS, default="middle")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = "tiny" if options.quick else options.size
    n_layer, n_embd, vocabulary = SIZES[size]
    profile = load_profile("loihi2")
    per_chip = profile.limit("cores_per_chip") or 1
    table = Table(*COLUMNS, title="Loihi 2, random weights")
    for layout in LAYOUTS:
        network = random_network(
            RandomShape(
                layout, n_layer, n_embd, vocabulary, weight_bits=options.weight_bits,
                levels=3 if layout == "spike-driven" else 1, binary_embedding=vocabulary < 10_000,
            )
        )  # fmt: skip
        for share in options.prune:
            machine = machine_of(pruned(network, share), profile)
            cores = len(partition(machine, profile, options.packing))
            table.add_row(
                size, layout, options.packing, str(options.weight_bits), f"{share:.0%}",
                str(cores), str(-(-cores // per_chip)),
            )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
