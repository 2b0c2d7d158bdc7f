"""Weights of few bits, and several streams through one pass of the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.classes import HEADLINE, ModelClass, write_checkpoint
from benchmarks.contenders import TorchModel, random_tokens
from benchmarks.measure import BandwidthProbe, clock, paired_ratio, rounds, summary
from benchmarks.studies import Plan
from spikegpt_neuro.arithmetic.packed import PADDING, PackedWeights, dense_packed
from spikegpt_neuro.backends.batch import BatchSession
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.network import Network

WIDTHS = (8, 4, 3, 2)
STREAMS = 8


def bits(plan: Plan) -> dict[str, Any]:
    """Generation at each width beside the own 8-bit one, PyTorch and the memory probe."""
    named = {model_class.name: model_class for model_class in plan.classes}
    chosen = named.get(HEADLINE, plan.classes[-1])
    plan.say(f"bits: {chosen.name}")
    tokens = random_tokens(chosen, 16)
    networks = {width: chosen.network(weight_bits=width) for width in WIDTHS}
    turns: dict[str, Callable[[], float]] = {"probe": BandwidthProbe()}
    for width, network in networks.items():
        turns[f"{width} bits"] = _stepping(EmulatorSession(network).step, tokens)
    for width in (4, 2):
        turns[f"{width} bits, products alone"] = _products(networks[width])
    for width in (8, 4):
        turns[f"{width} bits, {STREAMS} streams"] = _batch(networks[width], tokens)
    with tempfile.TemporaryDirectory() as folder:
        peer = TorchModel(write_checkpoint(chosen, Path(folder)), chosen)
        turns["PyTorch fp32"] = _stepping(peer.step, tokens[:4])
        for turn in turns.values():
            turn()
        figures = rounds(turns, plan.rounds)
    own = figures["8 bits"]
    result: dict[str, Any] = {
        "class": chosen.name,
        "probe_bytes_per_second": summary(figures["probe"]),
        "seconds_per_token": {n: summary(v) for n, v in figures.items() if n != "probe"},
        "times_own_8_bit": {
            n: paired_ratio(own, v)
            for n, v in figures.items()
            if n not in ("probe", "8 bits") and not n.endswith("alone")
        },
        "times_torch": {
            n: paired_ratio(figures["PyTorch fp32"], figures[n])
            for n in (f"{width} bits" for width in WIDTHS)
        },
        "weight_bytes_over_probe": {
            name: _share(chosen, width, figures[name], figures["probe"])
            for width in WIDTHS
            for name in (f"{width} bits", f"{width} bits, products alone")
            if name in figures
        },
    }
    return {chosen.name: result}


def _stepping(step: Callable[[int], object], tokens: list[int]) -> Callable[[], float]:
    def turn() -> float:
        begin = clock()
        for token in tokens:
            step(token)
        return (clock() - begin) / len(tokens)

    return turn


def _batch(network: Network, tokens: list[int]) -> Callable[[], float]:
    session = BatchSession(network, STREAMS)

    def turn() -> float:
        begin = clock()
        for token in tokens[: len(tokens) // 2]:
            session.step([token] * STREAMS)
        return (clock() - begin) / (len(tokens) // 2 * STREAMS)

    return turn


def _products(network: Network) -> Callable[[], float]:
    """Every packed matrix times one operand vector, each called from Python: no other layer."""
    walks = []
    for layer in network.layers:
        weight = getattr(layer, "weight", None)
        if isinstance(weight, PackedWeights):
            operand = np.ones((1, weight.shape[1] + PADDING), np.int16)
            operand[:, weight.shape[1] :] = 0
            result = np.empty((1, weight.shape[0]), np.int32)
            walks.append((weight.words, weight.bits, operand, result))

    def turn() -> float:
        begin = clock()
        for walk in walks:
            dense_packed(*walk)
        return clock() - begin

    return turn


def _share(
    model_class: ModelClass, width: int, times: list[float], probe: list[float]
) -> dict[str, Any]:
    """Bytes of all weights a second, over what the probe read in the same round.

    Layers walked event by event read fewer: a network of few bits hardly has any.
    """
    read = model_class.weights * width / 8
    return summary([read / t / p for t, p in zip(times, probe, strict=True)])
