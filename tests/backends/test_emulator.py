"""The emulator: the same integers however it is driven, and counts that a recount confirms."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic import elementwise
from spikegpt_neuro.backends import program
from spikegpt_neuro.backends.base import Session
from spikegpt_neuro.backends.emulator import Emulator, EmulatorSession
from spikegpt_neuro.backends.execution import Column, packed_walk
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.layers import Dense, LayerNorm, Lif, Wkv
from spikegpt_neuro.network.random_networks import RandomShape, random_network

NETWORKS = {
    "upstream": random_network(RandomShape(n_embd=24, vocabulary_size=31)),
    "sparse real ffnPre": random_network(
        RandomShape(
            n_layer=3, n_embd=17, vocabulary_size=40, square_density=0.1, binary_embedding=False,
            ffn_pre=True,
        )
    ),
    "spike-driven binary": random_network(
        RandomShape("spike-driven", n_embd=33, vocabulary_size=31, firing=0.1)
    ),
    "spike-driven graded": random_network(
        RandomShape("spike-driven", n_embd=32, vocabulary_size=31, levels=3, firing=0.3)
    ),
    "ternary": random_network(RandomShape(n_embd=24, vocabulary_size=31, weight_bits=2)),
    "4 bits": random_network(
        RandomShape(n_embd=40, vocabulary_size=31, square_density=0.1, weight_bits=4)
    ),
    "spike-driven 6 bits": random_network(
        RandomShape("spike-driven", n_embd=33, vocabulary_size=31, firing=0.1, weight_bits=6)
    ),
}  # fmt: skip
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))


def _tokens(network: Network, count: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, network.info.vocabulary_size, count).tolist()


def _stepped(session: Session, tokens: list[int]) -> np.ndarray:
    return np.array([session.step(token) for token in tokens])


@every_network
def test_the_networks_are_alive(network: Network) -> None:
    with Emulator().open(network, trace=network.spiking_layers) as session:
        logits = session.score(_tokens(network, 100))
        assert len(np.unique(logits, axis=0)) == 100
        for name in network.spiking_layers:
            assert 0.005 < (session.trace(name) != 0).mean() < 0.6, name


@pytest.mark.parametrize("bits", range(2, 8))
def test_packed_weights_give_what_the_same_bytes_give(bits: int) -> None:
    packed = random_network(RandomShape(n_embd=72, vocabulary_size=31, weight_bits=bits))
    plain = dataclasses.replace(
        packed,
        layers=tuple(
            dataclasses.replace(layer, weight=np.asarray(layer.weight))
            if isinstance(layer, Dense) else layer
            for layer in packed.layers
        ),
    )  # fmt: skip
    assert {layer.weight_bits for layer in packed.layers if isinstance(layer, Dense)} == {bits}
    tokens = _tokens(packed, 40)
    with EmulatorSession(packed, threads=2) as one, EmulatorSession(plain) as other:
        assert np.array_equal(_stepped(one, tokens), _stepped(other, tokens))
        assert np.array_equal(one.score(tokens), other.score(tokens))
        assert one.counters == other.counters
        assert np.array_equal(one.state, other.state)


@pytest.mark.parametrize(("bits", "asked"), [(8, False), (4, True)])
def test_the_walk_of_packed_weights_is_compiled_only_where_there_are_some(
    bits: int, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of what a first run waits for."""
    compiled = []
    monkeypatch.setattr(program, "packed_walk", lambda: compiled.append(1) or packed_walk())
    shape = RandomShape(n_layer=1, n_embd=8, vocabulary_size=4, weight_bits=bits)
    with EmulatorSession(random_network(shape)) as session:
        session.score([1, 2])
    assert bool(compiled) is asked


@settings(deadline=None, max_examples=25)
@given(blocks=st.lists(st.integers(1, 140), min_size=1, max_size=4), data=st.data())
def test_scoring_equals_stepping_for_any_split(blocks: list[int], data: st.DataObject) -> None:
    network = NETWORKS[data.draw(st.sampled_from(sorted(NETWORKS)))]
    tokens = _tokens(network, sum(blocks))
    with EmulatorSession(network) as stepping, EmulatorSession(network) as scoring:
        expected = _stepped(stepping, tokens)
        begin = 0
        for block in blocks:
            got = scoring.score(tokens[begin : begin + block])
            np.testing.assert_array_equal(got, expected[begin : begin + block])
            begin += block
        assert scoring.counters == stepping.counters
        np.testing.assert_array_equal(scoring.state, stepping.state)


@every_network
def test_reset_equals_a_fresh_session(network: Network) -> None:
    tokens = _tokens(network, 40)
    with Emulator().open(network) as session:
        first = session.score(tokens)
        carried_on = session.score(tokens)
        session.reset()
        np.testing.assert_array_equal(session.score(tokens), first)
        assert (carried_on != first).any()
        assert session.counters.tokens == 120
    with Emulator().open(network) as fresh:
        np.testing.assert_array_equal(fresh.score(tokens), first)


def test_a_fresh_process_gives_the_same_integers(tmp_path: Path) -> None:
    network = NETWORKS["spike-driven graded"]
    path = tmp_path / "model.net"
    write_network(network, path)
    tokens = _tokens(network, 50)
    script = (
        "import hashlib, sys\n"
        "from spikegpt_neuro.network.file import read_network\n"
        "from spikegpt_neuro.backends.emulator import Emulator\n"
        "session = Emulator().open(read_network(sys.argv[1]))\n"
        "logits = session.score([int(t) for t in sys.argv[2].split(',')])\n"
        "print(hashlib.sha256(logits.tobytes()).hexdigest())\n"
    )
    arguments = [sys.executable, "-c", script, str(path), ",".join(map(str, tokens))]
    printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()
    with Emulator().open(network) as session:
        assert hashlib.sha256(session.score(tokens).tobytes()).hexdigest() == printed


@every_network
def test_event_driven_equals_dense(network: Network) -> None:
    tokens = _tokens(network, 70)
    names = [layer.name for layer in network.layers]
    with (
        EmulatorSession(network, trace=names) as events,
        EmulatorSession(network, trace=names, event_driven=False) as dense,
    ):
        np.testing.assert_array_equal(events.score(tokens), dense.score(tokens))
        for name in names:
            np.testing.assert_array_equal(events.trace(name), dense.trace(name))
        assert events.counters == dense.counters


@every_network
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_integers(network: Network, threads: int) -> None:
    tokens = _tokens(network, 70)
    names = [layer.name for layer in network.layers]
    with (
        Emulator(threads=threads).open(network, trace=names) as shared,
        Emulator().open(network, trace=names) as alone,
    ):
        np.testing.assert_array_equal(shared.score(tokens), alone.score(tokens))
        for name in names:
            np.testing.assert_array_equal(shared.trace(name), alone.trace(name))
        np.testing.assert_array_equal(_stepped(shared, tokens[:9]), _stepped(alone, tokens[:9]))
        assert shared.counters == alone.counters


def test_no_threads_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        Emulator(threads=0)


@every_network
def test_a_saved_state_resumes_exactly(network: Network) -> None:
    before, after = _tokens(network, 33, seed=1), _tokens(network, 20, seed=2)
    with Emulator().open(network) as session:
        session.score(before)
        state = session.state
        expected = session.score(after)
        session.score(before)
        session.state = state
        np.testing.assert_array_equal(session.score(after), expected)
    with Emulator().open(network) as other:
        other.state = state
        np.testing.assert_array_equal(_stepped(other, after), expected)


def test_a_state_of_another_network_is_refused() -> None:
    with (
        Emulator().open(NETWORKS["upstream"]) as session,
        Emulator().open(NETWORKS["spike-driven binary"]) as other,
        pytest.raises(InputError, match="not a state of this network"),
    ):
        session.state = other.state


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), words=st.integers(1, 40), name=st.sampled_from(sorted(NETWORKS))
)
def test_a_corrupt_state_is_refused_or_harmless(seed: int, words: int, name: str) -> None:
    network = NETWORKS[name]
    rng = np.random.default_rng(seed)
    with Emulator().open(network) as session:
        session.score(_tokens(network, 20))
        state = session.state
        places = rng.integers(0, state.size, words)
        state[places] = rng.integers(-(2**31), 2**31, words) >> rng.integers(0, 31, words)
        try:
            session.state = state
        except InputError as error:
            assert error.problems
        assert session.score(_tokens(network, 20)).shape == (20, network.info.vocabulary_size)


def test_two_sessions_share_weights_but_no_state() -> None:
    network = NETWORKS["upstream"]
    tokens = _tokens(network, 12)
    with Emulator().open(network) as alone:
        expected = _stepped(alone, tokens)
    with Emulator().open(network) as one, Emulator().open(network) as two:
        for token, logits in zip(tokens, expected, strict=True):
            np.testing.assert_array_equal(one.step(token), logits)
            np.testing.assert_array_equal(two.step(token), logits)


def test_sessions_share_one_copy_of_every_weight(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_network(NETWORKS["spike-driven binary"], path)
    network = read_network(path)
    columns = [Column.ADDRESS, Column.ADDRESS_BY_INPUT]
    with Emulator().open(network) as one, Emulator().open(network) as two:
        for session in (one, two):
            _stepped(session, _tokens(network, 20))
        addresses = one.program._instructions[:, columns]
        np.testing.assert_array_equal(addresses, two.program._instructions[:, columns])
        mapped = {layer.weight.ctypes.data for layer in network.layers if isinstance(layer, Dense)}
        assert mapped <= set(addresses[:, 0].tolist())
        assert np.count_nonzero(addresses[:, 1]) == len(mapped) - 1  # all but the graded head


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_are_transposed_once_operands_are_sparse(threads: int) -> None:
    network = random_network(RandomShape("spike-driven", n_embd=33, vocabulary_size=31, firing=0.1))
    tokens = _tokens(network, 30)
    with (
        EmulatorSession(network, threads=threads) as session,
        EmulatorSession(network, event_driven=False) as dense,
    ):
        assert not session.program._instructions[:, Column.ADDRESS_BY_INPUT].any()
        np.testing.assert_array_equal(_stepped(session, tokens), _stepped(dense, tokens))
        assert session.program._instructions[:, Column.ADDRESS_BY_INPUT].any()
        assert not dense.program._instructions[:, Column.ADDRESS_BY_INPUT].any()
        assert session.counters == dense.counters
    wide = random_network(RandomShape(n_embd=64, vocabulary_size=31, square_density=0.499))
    with EmulatorSession(wide) as session:
        session.score(_tokens(wide, 64))
        assert not session.program._instructions[:, Column.ADDRESS_BY_INPUT].any()


def test_the_walk_follows_the_density() -> None:
    network = NETWORKS["upstream"]
    with Emulator().open(network) as session:
        dense = {layer.name: layer for layer in network.layers if isinstance(layer, Dense)}
        value, key = dense["blocks.0.srffn.value"], dense["blocks.0.srffn.key"]
        assert session.program.is_event_driven(value, 0.1)
        assert not session.program.is_event_driven(value, 0.5)
        assert not session.program.is_event_driven(key, 0.1)  # behind a mix, never sparse


def test_results_are_copies() -> None:
    network = NETWORKS["upstream"]
    with Emulator().open(network, trace=["head.norm"]) as session:
        first = session.step(1)
        traced = session.trace("head.norm")
        kept = first.copy(), traced.copy()
        session.step(2)
        np.testing.assert_array_equal(first, kept[0])
        np.testing.assert_array_equal(traced, kept[1])


@pytest.mark.parametrize("tokens", [[-1], [31], [0, 1, 99], [2**40]])
def test_a_token_outside_the_vocabulary_is_refused(tokens: list[int]) -> None:
    with Emulator().open(NETWORKS["upstream"]) as session:
        with pytest.raises(InputError, match=r"outside the vocabulary \(0\.\.30\)"):
            session.score(tokens)
        with pytest.raises(InputError, match="outside the vocabulary"):
            session.step(tokens[-1])
        assert session.counters.tokens == 0


def test_scoring_no_tokens_gives_no_logits() -> None:
    with Emulator().open(NETWORKS["upstream"]) as session:
        assert session.score([]).shape == (0, 31)


def test_unknown_and_missing_traces_are_refused() -> None:
    network = NETWORKS["upstream"]
    with pytest.raises(InputError, match="nowhere"):
        Emulator().open(network, trace=["nowhere"])
    with Emulator().open(network, trace=["head.norm"]) as session:
        with pytest.raises(InputError, match="not traced"):
            session.trace("head.norm")
        session.step(0)
        with pytest.raises(InputError, match="not traced"):
            session.trace("embedding.norm")


# --- counters -----------------------------------------------------------------------------------


def _rescaled(values: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    wide = values.astype(np.int64) * multiplier.astype(np.int64)
    return (wide + ((1 << shift.astype(np.int64)) >> 1)) >> shift.astype(np.int64)


def _norm_events(layer: LayerNorm, values: np.ndarray) -> dict[str, int]:
    """What a norm's channels and its root send, from Python's integers."""
    limbs = sent = 0
    for row in values:
        shifted = [int(x) << layer.input_shift for x in row]
        for x in shifted:
            parts = (x & 4095, x >> 12, *((x * x) >> (12 * k) & 4095 for k in range(4)))
            limbs += sum(part != 0 for part in parts)
        total, squares = sum(shifted), sum(x * x for x in shifted)
        if squares:
            statistics = elementwise.norm_statistics(
                total, squares, len(shifted), layer.mean_multiplier, layer.mean_shift,
                layer.epsilon,
            )  # fmt: skip
            sent += sum(int(value) != 0 for value in statistics)
    return {"sum_events": limbs, "statistic_events": sent}


def _recount(network: Network, traces: dict[str, np.ndarray], tokens: int) -> dict[str, dict]:
    """Every count, from traced values alone (saturations of stateful layers are left out)."""
    counts = {}
    for layer in network.layers:
        inputs = [traces[name] for name in layer.inputs if name != TOKEN]
        driver = None
        if inputs:
            driver = inputs[-1] if layer.kind in ("product", "residual") else inputs[0]
        own = dict.fromkeys(
            ("synaptic_operations", "unit_synaptic_operations", "unit_additions", "overflows"), 0
        )
        own["input_events"] = tokens if driver is None else int((driver != 0).sum())
        own["unit_input_events"] = 0 if driver is None else int((np.abs(driver) == 1).sum())
        own["output_events"] = int((traces[layer.name] != 0).sum())
        active, wide = driver, None
        if isinstance(layer, Dense):
            # NeuroBench: an operation is effective when operand and weight are not zero
            connected = (layer.weight != 0).sum(axis=0).astype(np.int64)
            operands = inputs[0].astype(np.int64)
            own["synaptic_operations"] = int(((operands != 0) * connected).sum())
            own["unit_synaptic_operations"] = int(((np.abs(operands) == 1) * connected).sum())
            own["unit_additions"] = int((np.abs(operands) * connected).sum())
            accumulators = operands @ layer.weight.T.astype(np.int64)
            np.testing.assert_array_equal(traces[layer.name], accumulators)
            half = 1 << (layer.accumulator_bits - 1)
            own["overflows"] = int(((accumulators >= half) | (accumulators < -half)).sum())
            active = None
        elif layer.kind == "token_shift":
            active = inputs[0].astype(np.int64) * layer.current_multiplier
            active += inputs[1].astype(np.int64) * layer.previous_multiplier
            wide = _rescaled(active, np.ones_like(layer.shift), layer.shift)
        elif layer.kind in ("requantise", "readout"):
            wide = _rescaled(inputs[0], layer.multiplier, layer.shift)
        elif layer.kind == "product":
            both = inputs[0].astype(np.int64) * inputs[1]
            wide = _rescaled(both, layer.multiplier, layer.shift)
        elif isinstance(layer, LayerNorm):
            own |= _norm_events(layer, inputs[0])
        elif layer.kind == "residual":
            wide = inputs[0] + _rescaled(inputs[1], layer.multiplier, layer.shift)
        elif layer.kind == "delay":
            active = None
        elif isinstance(layer, Lif):
            active = _rescaled(inputs[0], layer.multiplier, layer.shift) + layer.offset
        elif isinstance(layer, Wkv):
            active = _rescaled(inputs[1], layer.value_multiplier, layer.value_shift)
        own["active_updates"] = 0 if active is None else int((active != 0).sum())
        if wide is not None:
            clipped = np.clip(wide, layer.output.low, layer.output.high)
            own["saturations"] = int((clipped != wide).sum())
        counts[layer.name] = own
    return counts


@every_network
def test_counters_equal_a_recount_from_traces(network: Network) -> None:
    names = [layer.name for layer in network.layers]
    tokens = _tokens(network, 90)
    with Emulator().open(network, trace=names) as session:
        session.score(tokens)
        counters = session.counters
        recount = _recount(network, {name: session.trace(name) for name in names}, len(tokens))
    assert counters.tokens == len(tokens)
    assert set(counters.layers) == set(recount)
    for name, expected in recount.items():
        got = {column: counters.count(name, column) for column in expected}
        assert got == expected, name
    assert counters.total("synaptic_operations") > 0
    assert counters.total("overflows") == 0


def test_overflows_beyond_a_narrow_accumulator_are_counted() -> None:
    network = NETWORKS["upstream"]
    narrow = tuple(
        dataclasses.replace(layer, accumulator_bits=12)
        if isinstance(layer, Dense)
        else layer
        for layer in network.layers
    )  # fmt: skip
    narrow_network = dataclasses.replace(network, layers=narrow)
    names = [layer.name for layer in narrow]
    tokens = _tokens(network, 30)
    with Emulator().open(narrow_network, trace=names) as session:
        session.score(tokens)
        recount = _recount(narrow_network, {n: session.trace(n) for n in names}, len(tokens))
        assert session.counters.total("overflows") > 1000
        for name in names:
            assert session.counters.count(name, "overflows") == recount[name]["overflows"]


def test_binary_spikes_cost_additions_and_graded_ones_multiplications() -> None:
    tokens = _tokens(NETWORKS["upstream"], 60)
    for name, all_unit in (("spike-driven binary", True), ("spike-driven graded", False)):
        with Emulator().open(NETWORKS[name]) as session:
            session.score(tokens)
            counters = session.counters
        dense = "blocks.0.srffn.value"
        events, unit = (counters.count(dense, c) for c in ("input_events", "unit_input_events"))
        assert (events == unit) is all_unit
        assert counters.count(dense, "unit_additions") >= counters.count(
            dense, "synaptic_operations"
        )
