"""Targets without described cores: what is needed, what a chip has, what does not fit."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import check_capacity, describes_cores
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.reports.mapping_tables import capacity_summary


def test_needs_are_what_the_layout_has_counted_by_hand() -> None:
    """A block of width n, hidden width 4n, and V words: nothing is asked of the layers."""
    n, words_known = 16, 50
    network = random_network(RandomShape(n_layer=1, n_embd=n, vocabulary_size=words_known))
    found = check_capacity(network, load_profile("xylo"))
    needs = {need.what: need for need in found.needs}
    # key, value, receptance, output; hidden key and value, receptance; head
    weights = 4 * n * n + 2 * (4 * n) * n + n * n + words_known * n
    assert needs["weights"].needed == weights
    assert needs["weights"].limit is None and needs["weights"].chips is None
    # 4 norms, 2 delays, 5 shifts, WKV, 2 gates, 2 products, 2 LIF, 2 residuals, the hidden layer's
    # squares, what the head reads, and its logits
    neurons = (4 + 2 + 5 + 1 + 2 + 2 + 2 + 2 + 4 + 1) * n + words_known
    assert needs["neurons"].needed == neurons
    assert needs["neurons"].limit == 1000 and needs["neurons"].chips == 1
    # the delays' values, WKV's three, LIF's membranes
    state = (2 + 3 + 2) * n
    # multiplier, shift, offset of a norm, two multipliers and a shift of a token shift, two pairs,
    # decay and first of WKV, three of LIF; else a multiplier and a shift a channel
    parameters = (4 * 3 + 5 * 3 + 6 + 2 * 2 + 2 * 2 + 2 * 3 + 2 * 2 + 4 * 2 + 2) * n
    assert needs["bytes"].needed == weights + 4 * (state + parameters + 2 * words_known)


@pytest.mark.parametrize("name", ["akida-akd1000", "speck", "xylo", "brainscales2"])
def test_every_structure_only_target_says_why_not(name: str) -> None:
    profile = load_profile(name)
    assert not describes_cores(profile)
    found = check_capacity(random_network(RandomShape(n_layer=4, n_embd=64)), profile)
    assert found.violations
    json.dumps(found.to_dict(), allow_nan=False)
    console = Console(width=120, record=True, file=io.StringIO())
    for renderable in capacity_summary(found):
        console.print(renderable)
    text = console.export_text()
    assert "Broken design rules" in text and "capacity of one chip" in text
