"""The specifications of the own neurons, executed with Python integers, against the processes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.equations import FUNCTIONS
from spikegpt_neuro.arithmetic.formats import EMPTY_EXPONENT
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.decomposition.neuron_programs import (
    OWN_NEURONS,
    PROGRAMS,
    programs_of,
    table,
)
from spikegpt_neuro.decomposition.neuron_specification import (
    TABLES,
    NeuronProgram,
    StockProgram,
    Word,
)
from spikegpt_neuro.network.layers import LayerNorm, Lif, Product, Sigmoid, SquaredRelu, Wkv
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.schema import Port

N, STEPS = 96, 40
DOCS = Path(__file__).parents[2] / "docs" / "backends.md"


class Measured(int):
    """A Python integer that remembers the widest result of any of its operations."""

    widest = 0

    @classmethod
    def of(cls, value: int) -> Measured:
        cls.widest = max(cls.widest, value.bit_length() + 1)
        return cls(value)


def _measured(name: str) -> Callable[[int, int], Any]:
    plain = getattr(int, name)
    return lambda self, other: Measured.of(plain(self, other))


for _operation in ("add", "sub", "mul", "lshift", "rshift", "and"):
    for _name in (f"__{_operation}__", f"__r{_operation}__"):
        setattr(Measured, _name, _measured(_name))


def _function(names: tuple[str, ...], text: str, scope: dict[str, Any]) -> Callable[..., int]:
    code = compile(text, "<specification>", "exec")

    def call(*values: int) -> int:
        local = dict(zip(names, values, strict=True))
        exec(code, scope, local)
        return local["result"]

    return call


def scope() -> dict[str, Any]:
    """What an equation may use: comparisons, tables, and the shared functions' own text."""
    found: dict[str, Any] = {"__builtins__": {}, "min": min, "max": max, "abs": abs}
    found |= {name: [int(x) for x in values] for name, values in TABLES.items()}
    found["levels_above"] = lambda v, step, levels: sum(v > j * step for j in range(1, levels + 1))
    for name, (arguments, text) in FUNCTIONS.items():
        found[name] = _function(arguments, text, found)
    return found


class Wire:
    """Stands for a port."""

    def __init__(self) -> None:
        self.values = np.zeros(0, np.int32)

    def send(self, values: Any) -> None:
        self.values = np.array(values)

    def recv(self) -> Any:
        return self.values.copy()


def run_specification(
    entry: NeuronProgram, code: CodeType, names: dict[str, Any], values: dict[str, np.ndarray],
    index: int,
) -> dict[str, int]:  # fmt: skip
    """One neuron's update: all assigned names."""
    local: dict[str, Any] = {
        word.name: Measured(int(values[word.name].reshape(-1)[index % values[word.name].size]))
        for words in (entry.inputs, entry.states, entry.parameters)
        for word in words
    }
    exec(code, names, local)
    return {name: int(value) for name, value in local.items()}


def random_words(word: Word, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random values of all magnitudes, with the edges of the word's range among them."""
    high = min((1 << (word.bits - int(word.signed))) - 1, (1 << 31) - 1)
    low = -high if word.signed else 0
    magnitude = 2.0 ** rng.uniform(0, np.log2(high + 1), n)
    values = np.minimum(magnitude, high).astype(np.int64)
    values *= rng.choice([-1, 0, 1] if word.signed else [0, 1, 1], n)
    values[: min(n, 6)] = [low, high, 0, min(1, high), max(-1, low), high // 2][: min(n, 6)]
    return values.astype(np.int32)


def port(size: int = N, bits: int = 24) -> Port:
    return Port(size, "graded", bits, True, 1.0)


def factors(rng: np.random.Generator, low: int, high: int, n: int = N) -> dict[str, np.ndarray]:
    return {
        "multiplier": (rng.integers(-(1 << 15), (1 << 15) + 1, n)).astype(np.int32),
        "shift": rng.integers(low, high, n).astype(np.int32),
    }


def gated(model: Any) -> None:
    model.g_in = Wire()
    model.g_in.values = np.array([1, 0], np.int32)


def build(program: str, rng: np.random.Generator, case: int) -> tuple[Any, dict[str, np.ndarray]]:
    """A process model outside a run, and its parameters as the specification names them."""
    prepare_lava()
    from spikegpt_neuro.backends.lava.processes.neurons import models

    gate = {"gate": 0, "size": N}
    if program == "rescale":
        given = {
            "first": random_words(Word("", 31, True, ""), N, rng),
            "second": random_words(Word("", 31, True, ""), N, rng),
            "shift": rng.integers(0, 62, N).astype(np.int32),
        }
        high = [511, (1 << 31) - 1, 255][case]
        low = -high if case < 2 else 0
        model = models.PyRescale({**given, "low": low, "high": high})
        return model, {**given, "low": np.array([low]), "high": np.array([high])}
    if program == "sigmoid":
        given = factors(rng, 4, 40)
        layer: Any = Sigmoid("x", ("y",), Port(N, "graded", 15, False, 1.0), **given)
        return models.PySigmoidGate({**gate, "layer": layer}), given
    if program == "scaled_product":
        given = factors(rng, 4, 62)
        layer = Product("x", ("y", "z"), port(), **given)
        ends = {"low": np.array([layer.output.low]), "high": np.array([layer.output.high])}
        return models.PyScaledProduct({"layer": layer}), given | ends
    if program == "squared_relu":
        given = factors(rng, 4, 40)
        shift = [0, 12, 40][case]
        layer = SquaredRelu(
            "x", ("y",), Port(N, "graded", 16, False, 1.0), **given, square_shift=shift
        )
        ends = {"square_shift": np.array([shift]), "high": np.array([layer.output.high])}
        return models.PySquaredReluNeurons({"layer": layer}), given | ends
    if program == "hold":
        return models.PyHold(gate), {}
    if program in ("leaky_lif", "memoryless_lif"):
        given = factors(rng, 8, 30) | {"offset": random_words(Word("", 14, True, ""), N, rng)}
        decay, levels, soft = [(2048, 1, 0), (3000, 15, 1), (0, 3, 0)][case]
        scalars = {"threshold": [2048, 100, 131071][case], "bias": [1, -4096, 4095][case]}
        layer = Lif(
            "x", ("y",), Port(N, "graded", 4, False, 1.0), **given, **scalars,
            voltage_decay=decay, levels=levels, soft_reset=soft,
        )  # fmt: skip
        if program == "memoryless_lif":
            layer = dataclasses.replace(layer, voltage_decay=4096)
            named = given | {k: np.array([v]) for k, v in {**scalars, "levels": levels}.items()}
            return models.PyMemorylessLif({**gate, "layer": layer}), named
        more = {**scalars, "voltage_decay": decay, "levels": levels, "soft_reset": soft}
        named = given | {name: np.array([value]) for name, value in more.items()}
        return models.PyLeakyLif({**gate, "layer": layer}), named
    if program == "wkv":
        key, value = factors(rng, 5, 20), factors(rng, 12, 30)
        given = {
            "key_multiplier": key["multiplier"], "key_shift": key["shift"],
            "value_multiplier": value["multiplier"], "value_shift": value["shift"],
            "decay": -np.abs(random_words(Word("", 24, True, ""), N, rng)),
            "first": random_words(Word("", 22, True, ""), N, rng),
        }  # fmt: skip
        layer = Wkv("x", ("y", "z"), port(bits=16), **given)
        return models.PyWkvNeurons({**gate, "layer": layer}), given
    scalars = {
        "input_shift": [0, 12, 5][case], "mean_multiplier": 21845, "mean_shift": 21,
        "epsilon": [32212, 1, 1 << 40][case],
    }  # fmt: skip
    given = factors(rng, 12, 24) | {"offset": random_words(Word("", 20, True, ""), N, rng)}
    layer = LayerNorm("x", ("y",), port(), **given, **scalars)
    if program == "normalise":
        named = given | {"input_shift": np.array([scalars["input_shift"]])}
        return models.PyNormalise({**gate, "layer": layer}), named
    named = {name: np.array([value]) for name, value in (scalars | {"n": N}).items()}
    return models.PyReciprocalRoot({"layer": layer}), named


def _bits(value: int) -> int:
    """Bits of a value in two's complement, without its sign."""
    return (value if value >= 0 else ~value).bit_length()


def check(
    program: str,
    model: Any,
    given: dict[str, np.ndarray],
    step: Callable[[int], dict[str, Any]],
    sent: Callable[[], dict[str, np.ndarray]],
) -> None:
    """Run the model and the specification side by side."""
    entry = OWN_NEURONS[program]
    code, names = compile(entry.equation, program, "exec"), scope()
    Measured.widest = 0
    for t in range(STEPS):
        inputs = step(t)
        before = {w.name: np.array(getattr(model, w.name)) for w in entry.states}
        model.run_spk()
        results = sent()
        n = next(iter(results.values())).size
        for i in range(n):
            expected = run_specification(entry, code, names, given | inputs | before, i)
            for name, values in results.items():
                assert values[i] == expected[name], (name, t, i)
            for word in entry.states:
                state = int(getattr(model, word.name)[i])
                assert state == expected[word.name], (word.name, t, i)
                assert _bits(state) <= word.bits - word.signed
        for word in entry.outputs:
            if word.name in results:
                assert all(_bits(int(x)) <= word.bits - word.signed for x in results[word.name])
    assert Measured.widest <= entry.widest, Measured.widest


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize(
    "program",
    [
        "rescale",
        "sigmoid",
        "scaled_product",
        "squared_relu",
        "hold",
        "memoryless_lif",
        "leaky_lif",
        "wkv",
    ],
)
def test_process_equals_its_specification(program: str, case: int) -> None:
    rng = np.random.default_rng([case, len(program)])
    model, given = build(program, rng, case)
    entry = OWN_NEURONS[program]
    model.a_in, model.b_in, model.s_out = Wire(), Wire(), Wire()
    if entry.gated:
        gated(model)
    for word in entry.states:
        start = EMPTY_EXPONENT if word.name == "exponent" else 0
        setattr(model, word.name, np.full(N, start, np.int32))
    bits = {"hold": 24, "wkv": 24}.get(program, 30)

    def step(t: int) -> dict[str, Any]:
        found = {
            w.name: random_words(Word("", min(bits, w.bits), True, ""), N, rng)
            for w in entry.inputs
        }
        model.a_in.values, model.b_in.values = found["a"], found.get("b", np.zeros(N, np.int32))
        if "b" not in found and program == "rescale":
            found["b"] = np.zeros(N, np.int32)
        return found

    check(program, model, given, step, lambda: {"s": model.s_out.values})
    if entry.gated:
        _check_idle(model, entry)


def test_the_way_back_equals_its_specification() -> None:
    """It opens and closes in the step of the flag, and closing is stronger."""
    prepare_lava()
    from spikegpt_neuro.backends.lava.processes.neurons.models import PyFeedback

    rng = np.random.default_rng(0)
    model = PyFeedback({"size": N})
    model.a_in, model.f_in, model.s_out = Wire(), Wire(), Wire()
    model.is_open = np.zeros(N, np.int32)
    seen = set()

    def step(t: int) -> dict[str, Any]:
        model.a_in.values = rng.integers(0, 2, N).astype(np.int32)
        model.f_in.values = (rng.random(2) < 0.3).astype(np.int32)
        opens, closes = model.f_in.values
        seen.add((int(opens), int(closes), int(model.is_open[0])))
        return {"a": model.a_in.values, "opens": np.array([opens]), "closes": np.array([closes])}

    check("feedback", model, {}, step, lambda: {"s": model.s_out.values})
    assert len(seen) == 8  # every flag in either state


def _check_idle(model: Any, entry: NeuronProgram) -> None:
    """Without its flag a gated population sends nothing and keeps its state; reset restores it."""
    before = {word.name: np.array(getattr(model, word.name)) for word in entry.states}
    assert not before or any(values.any() for values in before.values())
    model.g_in.values = np.array([0, 0], np.int32)
    model.run_spk()
    assert not model.s_out.values.any()
    for name, values in before.items():
        assert np.array_equal(getattr(model, name), values)
    model.g_in.values = np.array([0, 1], np.int32)
    model.run_spk()
    for word in entry.states:
        start = EMPTY_EXPONENT if word.name == "exponent" else 0
        assert (getattr(model, word.name) == start).all()


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_channels_of_a_layer_norm_equal_their_specification(case: int) -> None:
    rng = np.random.default_rng(case)
    model, given = build("normalise", rng, case)
    model.a_in, model.r_in, model.s_out, model.m_out = Wire(), Wire(), Wire(), Wire()
    model.x1, model.x2 = np.zeros(N, np.int32), np.zeros(N, np.int32)
    gated(model)
    width = 24 - int(given["input_shift"][0])

    def step(t: int) -> dict[str, Any]:
        model.a_in.values = random_words(Word("", width, True, ""), N, rng)
        mean = random_words(Word("", 24, True, ""), N, rng)
        root = rng.integers(1 << 15, (1 << 16) + 1, N)
        # a channel's difference is at most the root of their squares' sum: below 2**20 afterwards
        reached = ((model.x2.astype(np.int64) << int(given["input_shift"][0])) - mean) * root
        least = [max(int(value).bit_length() - 20, -4) for value in reached]
        drop = np.array(least) + rng.integers(0, 3, N)
        found = {
            name: values.astype(np.int32)
            for name, values in (("mean", mean), ("root", root), ("drop", drop))
        }
        model.r_in.values = np.concatenate(list(found.values()))
        return {"a": model.a_in.values, **found}

    def sent() -> dict[str, np.ndarray]:
        limbs = model.m_out.values.reshape(6, N)
        return {"s": model.s_out.values} | {f"m{i}": limbs[i] for i in range(6)}

    check("normalise", model, given, step, sent)
    # without a token nothing leaves, not even the norm's bias
    model.g_in.values = np.array([0, 0], np.int32)
    model.a_in.values = np.zeros(N, np.int32)
    model.run_spk()
    assert given["offset"].any()
    assert not model.s_out.values.any()
    assert not model.m_out.values.any()


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_root_of_a_layer_norm_equals_its_specification(case: int) -> None:
    rng = np.random.default_rng(case)
    model, given = build("reciprocal_root", rng, case)
    model.a_in, model.s_out = Wire(), Wire()

    def step(t: int) -> dict[str, Any]:
        x = random_words(Word("", 24 if t else 2, True, ""), N, rng).astype(object) * (t != 1)
        limbs = [x & 4095, x >> 12, *[((x * x) >> (12 * k)) & 4095 for k in range(4)]]
        sums = [int(sum(limb)) for limb in limbs]
        model.a_in.values = np.array(sums, np.int32)
        return {f"m{i}": np.array([total]) for i, total in enumerate(sums)}

    def sent() -> dict[str, np.ndarray]:
        names = ("mean", "root", "drop")
        return {name: model.s_out.values[i : i + 1] for i, name in enumerate(names)}

    check("reciprocal_root", model, given, step, sent)


@pytest.mark.parametrize("entry", OWN_NEURONS.values(), ids=OWN_NEURONS)
def test_specifications_hold_only_a_neuron_s_operations(entry: NeuronProgram) -> None:
    assert set(entry.operations) == {"add", "multiply", "shift", "compare", "table"}
    known = set(re.findall(r"\w+", entry.equation))
    for words in (entry.inputs, entry.parameters, entry.states):
        for word in words:
            used = word.name in known or word.name in {"low", "high"}
            assert used, word.name
    for word in (*entry.outputs, *entry.states):
        assert re.search(rf"^{word.name} = ", entry.equation, re.MULTILINE), word.name


def test_every_own_neuron_has_a_process_of_its_own() -> None:
    prepare_lava()
    from spikegpt_neuro.backends.lava.processes.neurons.process import PROCESSES

    assert set(PROCESSES) == set(OWN_NEURONS)
    assert len(set(PROCESSES.values())) == len(PROCESSES)


def test_anything_else_is_refused() -> None:
    for text in ("s = a // b", "s = a | 3", "s = sorted(a)", "s += a", "s = a / 2"):
        entry = NeuronProgram("", "", (), (), (), (), text, 1)
        with pytest.raises(ValueError, match=r"no operation of a neuron|not an assignment"):
            _ = entry.operations


@pytest.mark.parametrize(
    "shape",
    [
        RandomShape(n_layer=1, n_embd=8, vocabulary_size=5, ffn_pre=True),
        RandomShape(layout="spike-driven", n_layer=1, n_embd=8, vocabulary_size=5, levels=3),
    ],
)
def test_every_process_of_a_graph_is_stock_or_specified(shape: RandomShape) -> None:
    found = programs_of(random_network(shape))
    assert set(found) <= set(PROGRAMS)
    assert all(use.processes > 0 and use.neurons > 0 for use in found.values())


def test_stock_processes_are_where_they_are_said_to_be() -> None:
    prepare_lava()
    import importlib

    for entry in PROGRAMS.values():
        if isinstance(entry, StockProgram):
            module, _, name = entry.process.rpartition(".")
            assert hasattr(importlib.import_module(f"{module}.process"), name)


def test_the_documented_table_is_the_data() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")
