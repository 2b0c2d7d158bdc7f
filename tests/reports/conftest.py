"""One small study that the report tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import Study, build_study, run_text
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network.random_networks import RandomShape, random_network

MakeStudy = Callable[[str], Study]
PROFILES = ("cmos45-int8", "loihi1-paper", "loihi2", "akida-akd1000", "jetson-orin-nano")


@cache
def _study(layout: str) -> Study:
    levels = 3 if layout == "spike-driven" else 1
    network = random_network(RandomShape(layout=layout, levels=levels, n_layer=2, n_embd=32))
    tokens = np.random.default_rng(5).integers(0, network.info.vocabulary_size, 90).tolist()
    run = run_text(Emulator(), network, tokens)
    return build_study(network, run, [load_profile(p) for p in PROFILES], text='<a> & "b".txt')


@pytest.fixture(scope="session")
def make_study() -> MakeStudy:
    """``make_study(layout)``: a study over 90 tokens and five targets."""
    return _study
