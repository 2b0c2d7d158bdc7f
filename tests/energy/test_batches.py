"""Weights that a batch shares, counted again token by token, and what is paid for them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.packed import store
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import build_study, run_text
from spikegpt_neuro.energy.activity import activities, is_listed
from spikegpt_neuro.energy.baselines import compare
from spikegpt_neuro.energy.batches import batch_rows, passes_of
from spikegpt_neuro.energy.study import Rows
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network

BATCHES = (1, 3, 8)
TOKENS = 41
LAYOUTS = pytest.mark.parametrize("layout", ["upstream", "spike-driven", "pruned"])


def _pruned(network: LanguageModel) -> LanguageModel:
    """Nine of ten weights 0: stored as lists of those that are not."""
    rng = np.random.default_rng(3)
    layers = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            kept = layer.weight * (rng.random(layer.weight.shape) < 0.1)
            kept = store(kept.astype(np.int8), layer.weight_bits)
            layer = replace(layer, weight=kept)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


@cache
def _made(layout: str) -> tuple[LanguageModel, list[int], Any]:
    spiking = layout != "upstream"
    network = random_network(
        RandomShape(
            layout="spike-driven" if spiking else layout, levels=3 if spiking else 1, n_layer=2,
            n_embd=32, firing=0.05,
        )
    )  # fmt: skip
    if layout == "pruned":
        network = _pruned(network)
    tokens = np.random.default_rng(5).integers(0, network.info.vocabulary_size, TOKENS).tolist()
    return network, tokens, run_text(Emulator(), network, tokens, windows=7, batches=BATCHES)


def _groups(kind: str, batch: int) -> list[list[int]]:
    """Numbers of the tokens of each pass, written out."""
    if kind == "prefill":
        return [list(range(begin, min(begin + batch, TOKENS))) for begin in range(0, TOKENS, batch)]
    long, streams, begin = TOKENS % batch, [], 0
    for stream in range(batch):
        size = TOKENS // batch + (stream < long)
        streams.append(list(range(begin, begin + size)))
        begin += size
    return [[s[i] for s in streams if i < len(s)] for i in range(len(streams[0]))]


@LAYOUTS
def test_a_weight_is_read_once_if_any_token_of_the_pass_needs_it(layout: str) -> None:
    """By brute force: every product's weight that some token of a pass multiplies by no zero."""
    network, tokens, run = _made(layout)
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert any(is_listed(layer) for layer in dense) == (layout == "pruned")
    with Emulator().open(network, trace=[layer.inputs[0] for layer in dense]) as session:
        session.score(tokens)
        operands = {layer.name: session.trace(layer.inputs[0]) != 0 for layer in dense}
    assert {(s.kind, s.batch) for s in run.reads} == {
        (kind, batch) for kind in ("prefill", "generation") for batch in (3, 8)
    }
    for shared in run.reads:
        groups = _groups(shared.kind, shared.batch)
        assert shared.passes == len(groups)
        assert sorted(n for group in groups for n in group) == list(range(TOKENS))
        order = passes_of(shared.kind, shared.batch, TOKENS)
        assert [order[n] for n in range(TOKENS)] == [
            next(i for i, group in enumerate(groups) if n in group) for n in range(TOKENS)
        ]
        for layer in dense:
            weights = np.asarray(layer.weight).astype(np.int64)
            reads = 0
            for group in groups:
                for k in np.flatnonzero(operands[layer.name][group].any(axis=0)):
                    stored = weights[:, k] != 0 if is_listed(layer) else np.ones(len(weights), bool)
                    reads += int(stored.sum())
            assert shared.weights[layer.name] == reads, (shared.kind, shared.batch, layer.name)


@LAYOUTS
def test_only_reads_of_weights_and_parameters_shrink(layout: str) -> None:
    """The whole bill of a batch less that of one token, from the words saved and the SRAM curve."""
    network, _, run = _made(layout)
    layers = activities(network, run.counters)
    profile = load_profile("cmos45-int8")
    curve = profile.curves["sram_access"]
    rows = {(r.kind, r.batch): r for r in batch_rows(layers, run.reads, profile, BATCHES)}
    assert list(rows) == [(k, b) for k in ("prefill", "generation") for b in BATCHES]
    for shared in run.reads:
        alone, row = rows[shared.kind, 1], rows[shared.kind, shared.batch]
        saved = saved_densely = others = Fraction(0)
        for layer in layers:
            words = layer.parameter_words_read
            assert words % TOKENS == 0
            others += (words - words // TOKENS * shared.passes) * curve.at(8192) / 2
            if not layer.operand:
                continue
            price = curve.at(layer.weight_memory_bytes) / 64
            bits = layer.weight_bits
            saved += (layer.weights_read - shared.weights[layer.name]) * bits * price
            every = layer.dense_operations // TOKENS
            saved_densely += every * (TOKENS - shared.passes) * min(bits, 8) * price
        scale = Fraction(1, 10**12 * TOKENS)
        assert alone.products - row.products == saved * scale
        assert alone.whole - row.whole == (saved + others) * scale
        assert alone.whole_densely - row.whole_densely == (saved_densely + others) * scale
        assert row.weights_read == sum(shared.weights.values())
        assert row.weights_read_densely == shared.passes * sum(
            layer.weight.size for layer in network.layers if isinstance(layer, Dense)
        )


@LAYOUTS
def test_a_batch_of_one_is_what_the_opponents_are_priced_at(layout: str) -> None:
    network, _, run = _made(layout)
    layers = activities(network, run.counters)
    profile = load_profile("cmos45-int8")
    found = {b.name: b for b in compare(network, layers, profile).baselines}
    own, dense = found["this network"], found["dense int8"]
    for row in batch_rows(layers, (), profile):  # without a run's reads there is no other batch
        assert row.batch == 1 and row.passes == TOKENS
        assert row.weights_read == sum(layer.weights_read for layer in layers)
        assert float(row.products) == own.joules_with_memory_per_token
        assert float(row.whole) == own.joules_whole_per_token
        assert float(row.products_densely) == dense.joules_with_memory_per_token
        assert float(row.whole_densely) == dense.joules_whole_per_token
        assert row.ratio_of_whole == pytest.approx(dense.ratio_whole, rel=1e-12)  # rounded once


def test_the_ratio_falls_with_the_batch() -> None:
    network, _, run = _made("spike-driven")
    study = build_study(
        network, run, [load_profile("cmos45-int8")], rows=Rows(batches=BATCHES)
    )  # fmt: skip
    for kind in ("prefill", "generation"):
        ratios = [row.ratio_of_reads for row in study.batches if row.kind == kind]
        assert ratios == sorted(ratios, reverse=True) and ratios[0] > 1.5 * ratios[-1] > 1.5


def test_how_the_text_is_cut_for_reading_changes_nothing() -> None:
    network, tokens, run = _made("spike-driven")
    for windows in (1, 40):
        again = run_text(Emulator(), network, tokens, windows=windows, batches=BATCHES)
        assert again.reads == run.reads


def test_batches_larger_than_the_text_are_left_out_and_none_is_refused() -> None:
    network, tokens, _ = _made("upstream")
    run = run_text(Emulator(), network, tokens[:8], batches=(8, 9))
    assert [(s.kind, s.batch, s.passes) for s in run.reads] == [
        ("prefill", 8, 1), ("generation", 8, 1),
    ]  # fmt: skip
    assert run.reads[0].weights == run.reads[1].weights
    assert run_text(Emulator(), network, tokens[:8]).reads == ()
    with pytest.raises(InputError, match="a batch has at least one token"):
        Rows(batches=(0,))
