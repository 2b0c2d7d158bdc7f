"""Generation set aside and resumed gives the integers of one uninterrupted run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.generation import (
    SavedState,
    generate,
    load_state,
    network_digest,
    read_prompt,
    save_state,
)
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings

NETWORK = random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=9))
SETTINGS = SamplingSettings(temperature=1.0, seed=3, presence_penalty=0.2)


def sampler() -> Sampler:
    return Sampler(SETTINGS, NETWORK.logit_scale, 9)


def test_a_saved_state_resumes_exactly(tmp_path: Path) -> None:
    with Emulator().open(NETWORK) as session:
        logits = read_prompt(session, [1, 2, 3])
        whole = [token for token, _ in generate(session, logits, sampler(), 40)]
    chooser = sampler()
    with Emulator().open(NETWORK) as session:
        logits = read_prompt(session, [1, 2, 3], piece=2)
        begun = []
        for token, after in generate(session, logits, chooser, 17):
            begun.append(token)
            logits = after
        path = tmp_path / "chat.state"
        save_state(
            path,
            SavedState(network_digest(NETWORK), session.state, logits, chooser.state, 20),
        )
    saved = load_state(path, NETWORK)
    assert saved.tokens_seen == 20
    resumed = sampler()
    resumed.state = saved.sampler
    with Emulator().open(NETWORK) as session:
        session.state = saved.state
        ended = [token for token, _ in generate(session, saved.logits, resumed, 23)]
    assert begun + ended == whole


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with Emulator().open(NETWORK) as session:
        logits = read_prompt(session, [1])
        save_state(path, SavedState(network_digest(NETWORK), session.state, logits, {}, 1))
    other = random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=10))
    with pytest.raises(InputError, match="another network"):
        load_state(path, other)


def test_files_that_are_no_state(tmp_path: Path) -> None:
    path = tmp_path / "state"
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, meta=np.array([{"a": 1}], object), state=0, logits=0)
    for content in (
        b"", b"x", b"PK\x03\x04", (tmp_path / "other.npz").read_bytes(), pickled.read_bytes(),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(InputError, match="a state file"):
            load_state(path, NETWORK)
    with pytest.raises(InputError, match="does not exist"):
        load_state(tmp_path / "none", NETWORK)


def test_an_empty_prompt() -> None:
    with Emulator().open(NETWORK) as session, pytest.raises(InputError, match="no tokens"):
        read_prompt(session, [])


def test_any_changed_weight_or_constant_makes_another_network() -> None:
    digest = network_digest(NETWORK)
    for field, value in (("weight", None), ("accumulator_bits", 23)):
        layers = list(NETWORK.layers)
        place = max(i for i, layer in enumerate(layers) if layer.kind == "dense")
        if value is None:
            changed = layers[place].weight.copy()  # type: ignore[attr-defined]
            changed[-1, -1] ^= 1
            layers[place] = dataclasses.replace(layers[place], weight=changed)  # type: ignore[call-arg]
        else:
            layers[place] = dataclasses.replace(layers[place], **{field: value})
        assert network_digest(dataclasses.replace(NETWORK, layers=tuple(layers))) != digest
