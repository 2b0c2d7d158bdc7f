"""Compile layers into a program: instructions, arenas, and where each layer's values are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.packed import MOST_BITS, PADDING
from spikegpt_neuro.backends import slayer_instructions as _slayer_instructions  # noqa: F401
from spikegpt_neuro.backends.execution import Column, Count, Share, execute, packed_walk
from spikegpt_neuro.backends.instructions import INSTRUCTIONS
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.layers import OPERAND_LIMIT, Dense
from spikegpt_neuro.network.schema import Layer

Int32Array = npt.NDArray[np.int32]

EVENT_DENSITY = 0.35
"""Up to this share of active operands the event-driven walk beats the dense one (benchmarks/)."""
BLOCK_EVENT_DENSITY = 0.2
"""The same where a block of tokens shares each weight the dense walk loads."""

_by_input: WeakKeyDictionary[Dense, npt.NDArray[np.int8]] = WeakKeyDictionary()
"""Transposed weights of sparsely driven layers, shared by all programs of a network."""
_TRANSPOSED_ROWS = 32
"""Rows transposed at a time: what they read and write stays in the cache."""


def _weight_by_input(layer: Dense) -> npt.NDArray[np.int8]:
    if layer not in _by_input:
        weight = np.asarray(layer.weight)
        outputs, inputs = weight.shape
        transposed = np.empty((inputs, outputs), np.int8)
        for j in range(0, outputs, _TRANSPOSED_ROWS):
            transposed[:, j : j + _TRANSPOSED_ROWS] = weight[j : j + _TRANSPOSED_ROWS].T
        _by_input[layer] = transposed
    return _by_input[layer]


class _Arena:
    """First-fit allocation of spans in one vector, so that dead values' room is used again."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """Offset of a free span of ``size``."""
        for i, (offset, room) in enumerate(self._free):
            if room >= size:
                self._free[i] = (offset + size, room - size)
                return offset
        offset = self.size
        self.size += size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free a span, joining it with its neighbours."""
        spans = sorted([*(span for span in self._free if span[1]), (offset, size)])
        joined = spans[:1]
        for start, room in spans[1:]:
            last_start, last_room = joined[-1]
            if last_start + last_room == start:
                joined[-1] = (last_start, last_room + room)
            else:
                joined.append((start, room))
        self._free = joined


class Program:
    """Layers of one network, or of one stage of it, ready to execute.

    ``inputs``: names of values the layers read from outside, with their offsets in the values
    arena. ``keep``: names whose values stay readable after a step (outputs and traces).
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        sizes: dict[str, int] | None = None,
        keep: Iterable[str] = (),
        event_driven: bool = True,
        threads: int = 1,
        streams: int = 1,
        wide: Iterable[str] = (),
    ) -> None:
        """``sizes`` gives the sizes of external inputs; ``keep`` defaults to the last layer.
        ``wide``: those of them whose values have more than 16 bits.

        ``event_driven`` False uses the dense walk everywhere, ``threads`` shares the outputs of
        every layer between that many threads: the same integers either way. ``streams``: states
        that advance independently of each other.
        """
        self.layers = tuple(layers)
        self._by_name = {layer.name: layer for layer in self.layers}
        self._wide = {layer.name for layer in self.layers if layer.output.high > OPERAND_LIMIT}
        self._wide.update(wide)
        self._synapses = [
            layer
            for layer in self.layers
            if INSTRUCTIONS(layer).share is Share.SYNAPSES and isinstance(layer, Dense)
        ]
        self._held: list[Any] = []  # arrays whose addresses the instructions hold
        kept = set(keep) | {self.layers[-1].name}
        self._place_values(sizes or {}, kept)
        self._instructions = np.zeros((len(self.layers), Column.WIDTH), np.int64)
        parameters: list[Int32Array] = []
        initial: list[Int32Array] = []
        self._lengths = [0, 0]
        for row, layer in zip(self._instructions, self.layers, strict=True):
            self._encode(row, layer, parameters, initial, event_driven)
        self._parameters = np.concatenate([np.zeros(1, np.int32), *parameters])
        self._initial_state = np.concatenate([np.zeros(1, np.int32), *initial])
        self._instructions[:, [Column.PARAMETERS, Column.STATE]] += 1
        self.states = np.tile(self._initial_state, (streams, 1))
        self._widest = max([1, *(layer.operand_size for layer in self._synapses)])
        self._threads = threads
        self._helpers = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._counts = np.zeros((threads, streams, len(self.layers), Count.WIDTH), np.int64)
        self._active = np.zeros((threads, self._widest + 1), np.int32)
        self._barrier = np.zeros(1, np.int64)
        self.stream_tokens = np.zeros(streams, np.int64)
        self._allocate(1)

    def _place_values(self, sizes: dict[str, int], kept: set[str]) -> None:
        last_reader = {s: i for i, layer in enumerate(self.layers) for s in layer.inputs}
        arena = _Arena()
        self.offsets: dict[str, int] = {}
        self.sizes = dict(sizes)
        self.inputs = tuple(sizes)
        for name, size in sizes.items():
            self.offsets[name] = arena.take(size)
        for i, layer in enumerate(self.layers):
            self.sizes[layer.name] = layer.output.size
            self.offsets[layer.name] = arena.take(layer.output.size)
            for source in set(layer.inputs):
                if source in self.offsets and last_reader[source] == i and source not in kept:
                    arena.give(self.offsets[source], self.sizes[source])
        self._values_size = arena.size

    def _encode(
        self,
        row: npt.NDArray[np.int64],
        layer: Layer,
        parameters: list[Int32Array],
        initial: list[Int32Array],
        event_driven: bool,
    ) -> None:
        instruction = INSTRUCTIONS(layer)
        row[Column.STEP], row[Column.SHARE] = instruction.address, instruction.share
        row[Column.SIZE] = layer.output.size
        row[Column.RESULT] = self.offsets[layer.name]
        read = [self.offsets[name] for name in layer.inputs if name in self.offsets]
        row[Column.FIRST : Column.FIRST + len(read)] = read
        row[Column.LOW], row[Column.HIGH] = layer.output.low, layer.output.high
        row[Column.PARAMETERS], row[Column.STATE] = self._lengths
        arrays = [getattr(layer, name) for name in layer.parameter_names()]
        if instruction.derived is not None:
            arrays.append(instruction.derived(layer))
        parameters += [np.ascontiguousarray(values, np.int32) for values in arrays]
        self._lengths[0] += sum(values.size for values in arrays)
        scalars = [getattr(layer, name) for name in layer.scalar_ranges()]
        row[Column.SCALARS : Column.SCALARS + len(scalars)] = scalars
        if layer.state_words:
            initial.append(layer.initial_state())
            self._lengths[1] += layer.state_words
        row[Column.INPUT_SIZE] = layer.operand_size
        if instruction.table is not None:
            table = instruction.table(layer)
            row[Column.ADDRESS], row[Column.ELEMENTS] = self._address(table), table.size
            if layer.role == "input":
                row[Column.INPUT_SIZE] = table.shape[1]
        if isinstance(layer, Dense) and layer in self._synapses:
            row[Column.WEIGHT_BITS] = layer.weight_bits
            if layer.weight_bits != MOST_BITS:
                row[Column.STEP] = packed_walk().address
            row[[Column.EVENT_LIMIT, Column.BLOCK_EVENT_LIMIT]] = -1
            if layer.inputs[0] in self._wide:  # the dense walk takes 16 bits
                row[[Column.EVENT_LIMIT, Column.BLOCK_EVENT_LIMIT]] = layer.operand_size
                row[Column.ADDRESS_BY_INPUT] = self._address(_weight_by_input(layer))
            elif event_driven and self._is_sparse(layer):
                # transposed weights are bytes, whatever those walked densely are packed to
                share = EVENT_DENSITY * layer.weight_bits / MOST_BITS
                row[Column.EVENT_LIMIT] = int(share * layer.operand_size)
                row[Column.BLOCK_EVENT_LIMIT] = int(BLOCK_EVENT_DENSITY * layer.operand_size)

    def is_event_driven(self, layer: Dense, density: float) -> bool:
        """Whether ``layer`` visits only active weights at that share of active operands."""
        row = self._instructions[self.layers.index(layer)]
        return bool(density * layer.weight.shape[1] <= row[Column.EVENT_LIMIT])

    def _is_sparse(self, layer: Layer) -> bool:
        """True where operands can be mostly zero: behind a LIF or a ReLU, not behind a mix."""
        source = self._by_name.get(layer.inputs[0])
        while source is not None and source.forwards:
            source = self._by_name.get(source.inputs[0])
        return source is not None and source.sparse

    def _address(self, values: npt.NDArray[Any]) -> int:
        values = np.ascontiguousarray(values)
        self._held.append(values)
        return int(values.ctypes.data)

    def _allocate(self, tokens: int) -> None:
        self._room = np.zeros((tokens, self._values_size), np.int32)
        self.values = self._room
        self._scratch = np.zeros((self._threads, tokens * (self._widest + PADDING)), np.int16)

    @property
    def state(self) -> Int32Array:
        """State of the first stream, not a copy."""
        return self.states[0]

    def state_of(self, layer: str, place: int) -> Int32Array:
        """A layer's state number ``place`` in the first stream, [size], not a copy."""
        index = next(i for i, own in enumerate(self.layers) if own.name == layer)
        begin = self._instructions[index][Column.STATE] + place * self.layers[index].output.size
        return self.state[begin : begin + self.layers[index].output.size]

    def run(
        self, tokens: npt.NDArray[np.int64], streams: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Advance by a block of tokens; results stay in ``values`` until the next call.

        ``streams``: whose token each is, by default the first's; a stream's own are in order.

        External inputs must be in place: call ``reserve`` with the block's length, fill
        ``value(name)`` for each of ``inputs``, then ``run``.
        """
        self.reserve(tokens.size)
        self._barrier[0] = 0
        if streams is None:
            streams = np.zeros(tokens.size, np.int64)
        helping = [
            self._helpers.submit(self._work, tokens, streams, worker)
            for worker in range(1, self._threads)
            if self._helpers is not None
        ]
        self._work(tokens, streams, 0)
        wait(helping)
        self.stream_tokens += np.bincount(streams, minlength=self.stream_tokens.size)
        if self._instructions[:, Column.WANTED].any():
            self._transpose_wanted()

    def _transpose_wanted(self) -> None:
        """Transpose the weights of layers whose operands turned out sparse, from now on used."""
        for row, layer in zip(self._instructions, self.layers, strict=True):
            if row[Column.WANTED] and isinstance(layer, Dense):
                row[Column.ADDRESS_BY_INPUT] = self._address(_weight_by_input(layer))
                row[Column.WANTED] = 0

    def _work(
        self, tokens: npt.NDArray[np.int64], streams: npt.NDArray[np.int64], worker: int
    ) -> None:
        execute(
            self._instructions, self._parameters, self.states, tokens, streams, self.values,
            self._scratch[worker], self._active[worker], self._counts[worker], self._barrier,
            worker, self._threads,
        )  # fmt: skip

    def reserve(self, tokens: int) -> None:
        """Make room for a block of ``tokens``; what larger blocks needed is kept."""
        if self._room.shape[0] < tokens:
            self._allocate(tokens)
        self.values = self._room[:tokens]

    def value(self, name: str) -> Int32Array:
        """View [block, size] of an input or kept layer's values of the last block."""
        offset = self.offsets[name]
        return self.values[:, offset : offset + self.sizes[name]]

    def state_problems(self, state: Int32Array) -> Iterator[str]:
        """Why ``state`` cannot be a state of these layers: kernels rely on its ranges."""
        if state.dtype != np.int32 or state.shape != self.state.shape:
            yield f"{state.dtype} {state.shape}, must be int32 {self.state.shape}"
            return
        for row, layer in zip(self._instructions, self.layers, strict=True):
            if layer.state_words:
                begin = row[Column.STATE]
                yield from layer.state_problems(state[begin : begin + layer.state_words])

    def check_state(self, state: Int32Array) -> None:
        """Raise InputError, with everything that is wrong, if this is no state of these layers."""
        problems = list(self.state_problems(state))
        if problems:
            raise InputError(
                "this is not a state of this network:", problems, "Was it saved from another one?"
            )

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Raw counts since the program was compiled: int64 [layers, Count.WIDTH]."""
        return self._counts.sum(axis=(0, 1))

    def counts_of(self, stream: int) -> npt.NDArray[np.int64]:
        """The same of one stream's tokens alone."""
        return self._counts[:, stream].sum(axis=0)

    @property
    def tokens_seen(self) -> int:
        """Tokens since the program was compiled, of all streams."""
        return int(self.stream_tokens.sum())

    def reset(self, stream: int | None = None) -> None:
        """Return every state, or one stream's, to its start. Counts go on."""
        self.states[slice(None) if stream is None else stream] = self._initial_state

    def close(self) -> None:
        """Let the helping threads go."""
        if self._helpers is not None:
            self._helpers.shutdown()

    def raw_counts(self) -> dict[str, dict[Count, int]]:
        """Raw counts by layer name."""
        return name_counts(self.layers, self.counts)


def name_counts(
    layers: Iterable[Layer], counts: npt.NDArray[np.int64]
) -> dict[str, dict[Count, int]]:
    """Rows of raw counts [layers, Count.WIDTH] by layer name and column."""
    return {
        layer.name: {column: int(row[column]) for column in Count if column != Count.WIDTH}
        for layer, row in zip(layers, counts, strict=True)
    }
