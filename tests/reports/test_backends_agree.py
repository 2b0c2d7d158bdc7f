"""A report does not depend on which backend counted."""

from __future__ import annotations

import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.energy import build_study, run_text
from spikegpt_neuro.energy.study import Rows
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@pytest.mark.parametrize(("layout", "levels"), [("upstream", 1), ("spike-driven", 3)])
def test_lava_and_the_emulator_give_the_same_report(layout: str, levels: int) -> None:
    network = random_network(RandomShape(layout=layout, levels=levels, n_layer=1, n_embd=16))
    tokens = [7, 3, 42, 0, 11, 3, 3, 28, 49, 1, 5, 7]
    profiles = [load_profile("cmos45-int8"), load_profile("loihi2")]
    rows, written = Rows(batches=(1, 4)), []
    for name in ("emulator", "lava"):
        run = run_text(get_backend(name), network, tokens, windows=3, batches=(4,))
        values = build_study(network, run, profiles, rows=rows).to_dict()
        assert values.pop("backend") == name
        written.append(values)
    assert [row["batch"] for row in written[0]["batches"]] == [1, 4, 1, 4]
    assert written[0]["counters"] == written[1]["counters"]
    assert written[0] == written[1]
