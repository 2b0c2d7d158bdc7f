"""Targets without described cores: what is needed, what a chip has, what does not fit."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import check_capacity, describes_cores
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.reports.mapping_tables import capacity_summary


def test_needs_are_sums_over_the_network() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16))
    found = check_capacity(network, load_profile("xylo"))
    needs = {need.what: need for need in found.needs}
    weights = sum(layer.weight.size for layer in network.layers if isinstance(layer, Dense))
    assert needs["weights"].needed == weights
    assert needs["weights"].limit is None and needs["weights"].chips is None
    assert needs["neurons"].limit == 1000 and needs["neurons"].chips == 1
    words = sum(
        layer.state_words + layer.parameter_words
        for layer in network.layers
        if not isinstance(layer, Dense)
    )
    assert needs["bytes"].needed == weights + 4 * words


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
