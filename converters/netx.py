"""Read stock NetX files (``/layer``, as SLAYER writes them) into a network, strictly.

Stock lava-dl skips layers it does not know; here everything unknown is an error, and all errors
are listed together. The network equals stock ``netx.hdf5.Network`` on lava-nc's CPU backend step
for step, the one-step delay of every synapse included. ALIF neurons, which SLAYER exports and stock
NetX cannot build, are SLAYER's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.converters.netx_blocks import BLOCKS, embedding_layers
from spikegpt_neuro.converters.netx_schema import NEVER, GroupReader
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Chain, ChainInfo, Port
from spikegpt_neuro.network.layers import Delay
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    LONGEST_DELAY,
    Alif,
    ChannelDelay,
    Cuba,
    Delta,
    LeakyIntegrator,
    NetxConvolution,
    NetxDense,
    RasterInput,
    RecurrentAlif,
    Sigma,
    SigmaDelta,
)
from spikegpt_neuro.network.varied_neurons import current_based
from spikegpt_neuro.readers.hdf5 import Hdf5Group, read_hdf5

SPIKE_BITS = 6
"""Fraction bits of sigma-delta messages, stock ``spike_exp``."""
NEVER_SPIKES = ((0, 4096), NEVER)
"""What stock NetX makes of a dense layer without a neuron: an integrator that never fires."""
_SPIKES = Port(1, "binary", 1, False, 1.0)


def _port(size: int, like: Port) -> Port:
    return Port(size, like.payload, like.bits, like.signed, like.scale)


def _graded(size: int, bits: int = 24) -> Port:
    return Port(size, "graded", bits, True, 1.0)


def read_netx(
    path: Path, *, layers: int | None = None, input_message_bits: int = 0,
    spike_bits: int = SPIKE_BITS, synapse_delay: bool = True,
    input_shape: tuple[int, int, int] | None = None, output_voltages: bool = False,
    root: Hdf5Group | None = None,
) -> Chain:  # fmt: skip
    """The chain in ``path``. Raises ``InputError`` listing every layer that cannot be held.

    ``layers``: only that many of the file's layers, to leave out an ending stock NetX cannot run.
    ``input_message_bits``: 0 if a synapse that reads the input directly takes spikes, else the
    width of its graded input. ``spike_bits``: fraction bits of sigma-delta messages.
    ``synapse_delay``: True is stock NetX's timing, every synapse one step late; False is SLAYER's,
    where a time step passes all layers, so that biased neurons of deep layers do not start early.
    ``input_shape``: (width, height, channels), in stock's order, of the raster that a chain
    beginning with a convolution reads; such a file does not say it. ``output_voltages``: the last
    layer, of neurons that never fire, sends its voltages. ``root``: what ``read_hdf5``
    gave for ``path``, if it was read already.
    """
    root = read_hdf5(path, "a stock NetX network") if root is None else root
    chain = _Chain(
        Path(path), root, layers, input_message_bits, spike_bits, synapse_delay, input_shape
    )
    return chain.network(output_voltages=output_voltages)


class _Chain:
    """Builds the layers of one file, collecting problems on the way."""

    def __init__(
        self, path: Path, file: Hdf5Group, limit: int | None, message_bits: int, spike_bits: int,
        synapse_delay: bool, input_shape: tuple[int, int, int] | None,
    ) -> None:  # fmt: skip
        self._path, self._file, self._limit = path, file, limit
        self._message_bits, self._spike_bits = message_bits, spike_bits
        self._synapse_delay = synapse_delay
        self._input_shape = input_shape
        self._not_read: list[str] = []
        self.problems: list[str] = []
        self.layers: list[Layer] = []
        self._shape: tuple[int, ...] = ()
        self._builders: dict[str, Callable[[GroupReader], None]] = {
            "input": self._input, "flatten": self._flatten, "dense": self._dense,
            "dense_rec": self._dense, "conv": self._conv, "embedding": self._embedding,
            **dict.fromkeys(BLOCKS, self._block),
        }  # fmt: skip

    def network(self, *, output_voltages: bool) -> Chain:
        unknown = sorted(set(self._file) - {"layer", "simulation"})
        self.problems += [f"/{name}: unknown group" for name in unknown]
        group = self._file.get("layer")
        if not isinstance(group, Hdf5Group):
            raise InputError(f"{self._path} holds no /layer: it is not a stock NetX network.")
        names = [str(i) for i in range(len(group))]
        if set(names) != set(group):
            raise InputError(f"{self._path}: /layer must hold 0..{len(group) - 1}, nothing else.")
        for name in names[: self._limit]:
            before = len(self.problems)
            reader = GroupReader(group[name], f"layer {name}", self.problems)
            kind = reader.text("type")
            if kind not in self._builders:
                self.problems.append(
                    f"layer {name}: type {kind!r} cannot be held "
                    f"({', '.join(self._builders)} can; stock NetX cannot run others either)"
                )
            else:
                self._builders[kind](reader)
                if len(self.problems) == before:
                    reader.finish()
            if len(self.problems) > before and self._shape == ():
                break  # without an input's shape nothing that follows can be judged
        if output_voltages and not self.problems and self.layers:
            self._send_voltages()
        if self.problems or not self.layers:
            raise InputError(
                f"{self._path} cannot be read ({len(self.problems)} problems):",
                self.problems or ["no layers"],
                "Layers at the end can be left out: say how many to read (--layers N).",
            )
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
        info = ChainInfo(
            source={"format": "netx", "file": self._path.name, "sha256": digest},
            quantisation={
                "spike_bits": self._spike_bits,
                "synapse_delay": self._synapse_delay,
                "input_message_bits": self._message_bits,
                "stock_layers": len(names[: self._limit]),
                **self._transform,
                **({"not_read": self._not_read} if self._not_read else {}),
                **({"input_shape": list(self._input_shape)} if self._input_shape else {}),
            },
        )
        return Chain(info, tuple(self.layers))

    _transform: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def _send_voltages(self) -> None:
        """The last layer as neurons that send their voltage in place of spikes that never come."""
        last = self.layers[-1]
        if type(last) is not Cuba or last.threshold < NEVER - 1:
            at = f" at {last.threshold}" if isinstance(last, Cuba) else ""
            self.problems.append(
                f"{last.name}: a {last.kind} that fires{at}; the voltages of such neurons are in "
                "`simulate --trace`"
            )
            return
        port = _graded(last.output.size)
        decays = last.current_decay, last.voltage_decay
        self.layers[-1] = LeakyIntegrator(last.name, last.inputs, port, last.bias, *decays)

    def _start(self, shape: tuple[int, ...], port: Port) -> None:
        self._shape = shape
        self.layers.append(RasterInput("input.raster", (), _port(int(np.prod(shape)), port)))

    def _input(self, reader: GroupReader) -> None:
        shape = reader.shape()
        if self.layers:
            self.problems.append(f"{reader.where}: an input must be the first layer")
            return
        neuron = reader.group("neuron") if reader.has("neuron") else None
        if neuron is None:
            self._start(shape, self._plain_input())
            return
        self._start(shape, _graded(1, 18))
        if reader.has("weight") or reader.has("bias"):
            self._transform = {
                f"input_{name}": int(reader.integers(name).reshape(-1)[0])
                for name in ("weight", "bias")
                if reader.has(name)
            }
        self._neuron("input", "input.raster", neuron, None, is_input=True)

    def _plain_input(self) -> Port:
        return _graded(1, self._message_bits) if self._message_bits else _SPIKES

    def _embedding(self, reader: GroupReader) -> None:
        if self.layers:
            self.problems.append(f"{reader.where}: an embedding must be the first layer")
            return
        self.layers = embedding_layers(reader)
        self._shape = tuple(layer.output.size for layer in self.layers)

    def _block(self, reader: GroupReader) -> None:
        """One of SpikeGPT's blocks. Its delay is behind it: a zero input would age its state."""
        if not self.layers:
            self.problems.append(f"{reader.where}: a block needs a layer before it")
            return
        self.layers += BLOCKS[reader.text("type")](reader, self.layers[-1])
        if self._synapse_delay:
            last = self.layers[-1]
            self.layers.append(Delay(f"{last.stage}.delay", (last.name,), last.output))

    def _flatten(self, reader: GroupReader) -> None:
        shape = reader.shape()
        if int(np.prod(shape)) != int(np.prod(self._shape)):
            self.problems.append(f"{reader.where}: shape {shape} does not hold {self._shape}")
        self._shape = (int(np.prod(self._shape)),)

    def _delayed(self, stage: str) -> str:
        """The one-step delay stock synapses have, unless it is not wanted."""
        source = self.layers[-1]
        if not self._synapse_delay:
            return source.name
        one = np.ones(source.output.size, np.int32)
        self.layers.append(ChannelDelay(f"{stage}.delay", (source.name,), source.output, one, 1))
        return f"{stage}.delay"

    def _dense(self, reader: GroupReader) -> None:
        stage = f"{reader.text('type')}_{reader.index}"
        n, m = reader.integer("outFeatures"), reader.integer("inFeatures")
        if reader.has("weight/imag"):
            self.problems.append(f"{reader.where}: complex weights cannot be held")
            return
        weight = reader.weights("weight", (n, m))
        recurrent = reader.weights("weight_rec", (n, n)) if stage.startswith("dense_rec") else None
        shape = reader.shape()
        if not self.layers:
            self._start((m,), self._plain_input())
        if weight is None or (recurrent is None and stage.startswith("dense_rec")):
            return
        reader.check_range(weight if recurrent is None else np.hstack((weight, recurrent)))
        if int(np.prod(shape)) != n or int(np.prod(self._shape)) != m:
            self.problems.append(
                f"{reader.where}: {m} -> {n} features do not fit {self._shape} -> {shape}"
            )
            return
        delay = reader.integers("delay").reshape(-1) if reader.has("delay") else None
        source = self._delayed(stage)
        if delay is not None and delay.size == m and delay.size != n:
            source = self._channel_delay(f"{stage}.input_delay", source, delay, reader)
            delay = None
        synapse = f"{stage}.synapse"
        port = Port(n, "accumulator", 32, True, 1.0)
        self.layers.append(NetxDense(synapse, (source,), port, weight.astype(np.int16)))
        if delay is not None:
            synapse = self._channel_delay(f"{stage}.output_delay", synapse, delay, reader)
        self._shape = (n,)
        neuron = reader.group("neuron") if reader.has("neuron") else None
        self._neuron(stage, synapse, neuron, reader, recurrent=recurrent)

    def _channel_delay(self, name: str, source: str, delay: Array, reader: GroupReader) -> str:
        port = self.layers[-1].output
        if delay.size == 1:
            delay = np.full(port.size, delay[0])
        if delay.size != port.size or delay.min() < 0 or delay.max() > LONGEST_DELAY:
            self.problems.append(
                f"{reader.where}/delay: {delay.size} delays of {delay.min()}..{delay.max()}, must "
                f"be {port.size} of 0..{LONGEST_DELAY} (stock clamps longer ones)"
            )
            return source
        depth = max(1, int(delay.max()))
        self.layers.append(ChannelDelay(name, (source,), port, delay.astype(np.int32), depth))
        return name

    def _conv(self, reader: GroupReader) -> None:
        stage = f"conv_{reader.index}"
        shape = reader.shape()
        channels, groups = reader.integer("inChannels"), reader.integer("groups")
        outputs = reader.integer("outChannels")
        pairs = [reader.kernel(), *(reader.pair(n) for n in ("stride", "padding", "dilation"))]
        if reader.has("delay") and reader.integers("delay").any():
            self._not_read.append(f"{reader.where}/delay")
        if not self.layers and self._input_shape is not None:
            width, height, depth = self._input_shape
            self._start((depth, height, width), self._plain_input())
        if not self.layers:
            self.problems.append(
                f"{reader.where}: the chain begins with a convolution, and the file does not say "
                "the shape of what it reads; say it: `netx import --input-shape W,H,C`"
            )
            return
        if len(shape) != 3 or len(self._shape) != 3 or self._shape[0] != channels:
            self.problems.append(
                f"{reader.where}: {channels} channels do not fit {self._shape} -> {shape}"
            )
            return
        weight = reader.weights("weight", (outputs, channels // max(groups, 1), *pairs[0]))
        if weight is None:
            return
        reader.check_range(weight, convolution=True)
        geometry = np.array(
            [*self._shape, *shape, *(value for pair in pairs for value in pair), groups], np.int32
        )
        port = Port(int(np.prod(shape)), "accumulator", 24, True, 1.0)
        source = self._delayed(stage)
        flat = np.ascontiguousarray(weight.reshape(-1), np.int16)
        layer = NetxConvolution(f"{stage}.synapse", (source,), port, flat, geometry)
        self.problems += layer.problems()
        self.layers.append(layer)
        self._shape = shape
        self._neuron(stage, layer.name, reader.group("neuron"), reader)

    def _bias(self, reader: GroupReader | None, size: int) -> Array:
        """Bias of each neuron: one value, one a channel, or one a neuron."""
        if reader is None or not reader.has("bias"):
            return np.zeros(size, np.int32)
        bias = reader.integers("bias").reshape(-1)
        if size % max(bias.size, 1) or bias.size == 0:
            self.problems.append(f"{reader.where}/bias: {bias.size} values for {size} neurons")
            return np.zeros(size, np.int32)
        return np.repeat(bias, size // bias.size).astype(np.int32)

    def _neuron(
        self, stage: str, source: str, neuron: GroupReader | None, layer: GroupReader | None,
        *, recurrent: Array | None = None, is_input: bool = False,
    ) -> None:  # fmt: skip
        """Append the neurons of a layer; ``neuron`` None is stock's silent integrator."""
        size = int(np.prod(self._shape))
        name, inputs = f"{stage}.neuron", (source,)
        bias = self._bias(layer, size)
        kind = "CUBA" if neuron is None else neuron.text("type")
        if kind in ("CUBA", "LOIHI"):
            port = _port(size, _SPIKES)
            values = NEVER_SPIKES if neuron is None else neuron.cuba(self._shape)
            weight = None if recurrent is None else recurrent.astype(np.int16)
            self._append(current_based(name, source, port, bias, *values, weight))
        elif kind == "ALIF" and neuron is not None:
            read = neuron.alif()
            adaptive = (
                read["iDecay"], read["vDecay"], read["vThMant"], read["thDecay"],
                read["refDecay"], read["vThStep"],
            )  # fmt: skip
            port = _port(size, _SPIKES)
            if recurrent is None:
                self._append(Alif(name, inputs, port, bias, *adaptive))
            else:
                weight = recurrent.astype(np.int16)
                self._append(RecurrentAlif(name, inputs, port, bias, *adaptive, weight))
        elif kind == "SDNN" and neuron is not None and recurrent is None:
            threshold = neuron.sigma_delta()
            if is_input:
                self._append(Delta(name, inputs, _graded(size), threshold, self._spike_bits))
            elif neuron.has("sigma_output"):
                if bias.any() and layer is not None:
                    self.problems.append(f"{layer.where}: a sigma output takes no bias")
                self._append(Sigma(name, inputs, _graded(size, 32)))
            else:
                port = _graded(size)
                self._append(SigmaDelta(name, inputs, port, bias, threshold, self._spike_bits))
        else:
            how = " with recurrence" if recurrent is not None else ""
            self.problems.append(
                f"{stage}: neuron type {kind!r}{how} cannot be held (CUBA, LOIHI, ALIF, SDNN can; "
                "stock NetX runs RF besides, and has no process for ALIF)"
            )
            return  # its keys mean nothing to us
        if neuron is not None:
            neuron.finish()

    def _append(self, layer: Layer) -> None:
        self.problems += layer.problems()
        self.layers.append(layer)
