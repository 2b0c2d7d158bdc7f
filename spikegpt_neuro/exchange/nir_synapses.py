"""NIR's linear nodes as drives: real weights that wait for the scale of the neurons they reach.

A node between two layers of neurons is linear, so it becomes either a ``Drive``, real weights on a
signal, or another unit of the signal: ``Scale`` and the divisor of ``AvgPool2d`` are folded into
the weights behind them, ``Flatten`` only changes a shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_graph import MOST_VALUES, Node
from spikegpt_neuro.exchange.nir_neurons import FloatArray

Shape = tuple[int, ...]
LARGEST_REACH = 4096
"""Rows or columns that a kernel with padding 'same' may span."""


@dataclass(frozen=True, eq=False)
class Signal:
    """Integers a layer sends. ``unit``: real value of 1, float64, one number or [n]."""

    layer: str
    shape: Shape
    unit: FloatArray

    @property
    def size(self) -> int:
        """Values a time step."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class Drive:
    """Weights on a signal: dense [n, m], or of a convolution [O, I / groups, kh, kw] (or Conv1d's).

    ``geometry``: that of ``NetxConvolution``, None for dense. ``bias``: [n]. ``delays``: of what
    the weights give, by node, in time steps as they are in the file.
    """

    name: str
    source: Signal
    weight: FloatArray
    shape: Shape
    geometry: npt.NDArray[np.int32] | None = None
    bias: FloatArray | None = None
    delays: tuple[tuple[str, FloatArray], ...] = ()

    @property
    def size(self) -> int:
        """Values a time step."""
        return int(np.prod(self.shape))

    def rows(self) -> FloatArray:
        """Largest |weight| at each output, [n]."""
        largest = np.abs(self.weight).reshape(len(self.weight), -1).max(axis=1)
        return np.repeat(largest, self.size // len(self.weight))

    def sums(self) -> FloatArray:
        """Sum of |weights| at each output, [n]; positions outside a convolution's input counted."""
        total = np.abs(self.weight).reshape(len(self.weight), -1).sum(axis=1)
        return np.repeat(total, self.size // len(self.weight))

    def scaled(self, factor: FloatArray, where: str) -> Drive:
        """Outputs times ``factor``, [n] or one number.

        Raises ``InputError`` where it differs within the channel of a convolution.
        """
        every = np.broadcast_to(factor, self.size)
        rows = every.reshape(len(self.weight), -1)
        if not np.allclose(rows, rows[:, :1], rtol=1e-9, atol=0.0):
            raise InputError(
                "", [f"{where}: differs within a channel of the convolution {self.name}"]
            )
        column = rows[:, 0].reshape(-1, *[1] * (self.weight.ndim - 1))
        bias = None if self.bias is None else self.bias * every
        return replace(self, weight=self.weight * column, bias=bias)


def flattened(node: Node, shape: Shape) -> Shape:
    """The shape behind a ``Flatten`` node; all in one where its dimensions are not there."""
    first, last = (
        int(node.array(key, default).reshape(-1)[0])
        for key, default in (("start_dim", 1), ("end_dim", -1))
    )
    first, last = (d + len(shape) if d < 0 else d for d in (first, last))
    if not 0 <= first <= last < len(shape):
        return (int(np.prod(shape)),)
    return (*shape[:first], int(np.prod(shape[first : last + 1])), *shape[last + 1 :])


def synapse(name: str, node: Node, signal: Signal) -> Drive:
    """The drive of a ``Linear``, ``Affine``, ``Conv1d`` or ``Conv2d`` node."""
    weight = node.array("weight")
    if node.kind in ("Conv1d", "Conv2d"):
        return _convolution(name, node, weight, signal)
    if weight.shape[1] != signal.size:
        raise InputError(
            "", [f"{name}: takes {weight.shape[1]} values, {signal.layer} sends {signal.size}"]
        )
    size = len(weight)
    return Drive(
        name, signal, weight * np.broadcast_to(signal.unit, signal.size), (size,),
        bias=_bias(name, node, size, size),
    )  # fmt: skip


def identity(name: str, signal: Signal) -> Drive:
    """A signal that reaches neurons without weights, as one synapse a channel."""
    n = signal.size
    weight = np.broadcast_to(signal.unit, n).reshape(n, 1, 1, 1).copy()
    geometry = np.array([n, 1, 1, n, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, n], np.int32)
    return Drive(name, signal, weight, signal.shape, geometry)


def _bias(name: str, node: Node, channels: int, size: int) -> FloatArray | None:
    """A node's bias at each output, None where it has none or only zeros."""
    bias = node.array("bias", 0.0).reshape(-1)
    if bias.size not in (1, channels):
        raise InputError("", [f"{name}/bias: {bias.size} values for {channels} channels"])
    if not bias.any():
        return None
    return np.repeat(np.broadcast_to(bias, channels), size // channels)


def _pair(name: str, node: Node, key: str, least: int) -> npt.NDArray[np.int64]:
    """Whole numbers down and across; of ``Conv1d`` the one across."""
    values = node.array(key).reshape(-1)
    if values.size > 2 or (values != np.round(values)).any() or values.min() < least:
        raise InputError("", [f"{name}/{key}: {values.tolist()}, must be whole, {least} or more"])
    down, across = np.broadcast_to(values.astype(np.int64), 2)
    if node.kind == "Conv1d":
        down = np.int64(0 if key == "padding" else 1)
    return np.array([down, across])


def _image(name: str, signal: Signal, channels: int | None, is_flat: bool) -> Shape:
    """A signal's (channels, height, width)."""
    shape = signal.shape
    while len(shape) > (2 if is_flat else 3) and shape[0] == 1:
        shape = shape[1:]  # a batch of one
    if is_flat and len(shape) == 2:
        shape = (shape[0], 1, shape[1])
    if len(shape) != 3 or (channels is not None and shape[0] != channels):
        wanted = "channels, length" if is_flat else "channels, height, width"
        wanted += "" if channels is None else f" with {channels} channels"
        raise InputError("", [f"{name}: reads values of shape {signal.shape}, must be {wanted}"])
    return shape


def _convolution(name: str, node: Node, weight: FloatArray, signal: Signal) -> Drive:
    is_flat = node.kind == "Conv1d"
    weight = weight[:, :, None] if is_flat else weight
    groups = int(_pair(name, node, "groups", 1)[1])
    outputs, channels = len(weight), weight.shape[1] * groups
    if outputs % groups:
        raise InputError("", [f"{name}: {groups} groups do not divide {outputs} outputs"])
    stride, dilation = (_pair(name, node, key, 1) for key in ("stride", "dilation"))
    image = _given_image(node, signal, channels, is_flat)
    image = image if image is not None else _image(name, signal, channels, is_flat)
    padding = node.values["padding"]
    if isinstance(padding, str) and padding == "same":
        if (stride != 1).any():
            raise InputError("", [f"{name}: padding 'same' with a stride of {stride.tolist()}"])
        if (dilation * np.array(weight.shape[2:]) > LARGEST_REACH).any():
            raise InputError("", [f"{name}: a dilation of {dilation.tolist()}"])
        weight, dilation, pads = _same(weight, dilation)
    else:
        pads = (
            np.zeros(2, np.int64) if isinstance(padding, str) else _pair(name, node, "padding", 0)
        )
    kernel, size = np.array(weight.shape[2:]), np.array(image[1:])
    out = (size + 2 * pads - dilation * (kernel - 1) - 1) // stride + 1
    if out.min() < 1 or outputs * int(np.prod(out)) > MOST_VALUES:
        raise InputError(
            "", [f"{name}: a kernel of {kernel.tolist()} on an image of {size.tolist()}"]
        )
    geometry = np.array(
        [channels, *size, outputs, *out, *kernel, *stride, *pads, *dilation, groups], np.int32
    )
    weight = weight * _channel_units(name, signal, channels, groups, outputs)
    shape = (outputs, int(out[1])) if is_flat else (outputs, int(out[0]), int(out[1]))
    bias = _bias(name, node, outputs, int(np.prod(shape)))
    return Drive(name, signal, weight, shape, geometry, bias)


def _given_image(node: Node, signal: Signal, channels: int, is_flat: bool) -> Shape | None:
    """The image a node says it reads, where the signal is flat and of that size."""
    if node.values.get("input_shape") is None or len(signal.shape) != 1:
        return None
    given = tuple(int(v) for v in node.array("input_shape").reshape(-1))
    image = (channels, 1, *given) if is_flat else (channels, *given)
    return image if len(image) == 3 and np.prod(image) == signal.size else None


def _same(
    weight: FloatArray, dilation: npt.NDArray[np.int64]
) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Weights, dilation and padding of 'same': as much on both sides, else zeros in the kernel.

    Where an even number of rows or columns is added unevenly (PyTorch: one more behind than in
    front), the kernel is written out with its gaps and one zero in front.
    """
    dilation, pads = dilation.copy(), np.zeros(2, np.int64)
    for axis in (0, 1):
        reach = int(dilation[axis]) * (weight.shape[2 + axis] - 1)
        if reach % 2:
            wide = np.zeros([reach + 2 if i == 2 + axis else n for i, n in enumerate(weight.shape)])
            taps = [slice(None)] * 4
            taps[2 + axis] = slice(1, None, int(dilation[axis]))
            wide[tuple(taps)] = weight
            weight, dilation[axis], reach = wide, 1, reach + 1
        pads[axis] = reach // 2
    return weight, dilation, pads


def _channel_units(
    name: str, signal: Signal, channels: int, groups: int, outputs: int
) -> FloatArray:
    """Units of a signal for the weights [O, I / groups, 1, 1] that read it, channel by channel."""
    units = np.broadcast_to(signal.unit, signal.size).reshape(channels, -1)
    if not np.allclose(units, units[:, :1], rtol=1e-9, atol=0.0):
        raise InputError("", [f"{name}: the scale of what it reads differs within a channel"])
    rows = np.repeat(units[:, 0].reshape(groups, -1), outputs // groups, axis=0)
    return rows[:, :, None, None]


def pool(name: str, node: Node, signal: Signal) -> tuple[Drive, FloatArray]:
    """Sums over windows as a convolution with ones, and the unit of a sum.

    The padding of ``AvgPool2d`` counts as zeros, as PyTorch's default.
    """
    image = _image(name, signal, None, False)
    channels = image[0]
    kernel, stride = (_pair(name, node, key, 1) for key in ("kernel_size", "stride"))
    pads, size = _pair(name, node, "padding", 0), np.array(image[1:])
    out = (size + 2 * pads - kernel) // stride + 1
    if out.min() < 1 or channels * int(np.prod(out)) > MOST_VALUES:
        raise InputError(
            "", [f"{name}: a window of {kernel.tolist()} on an image of {size.tolist()}"]
        )
    units = np.broadcast_to(signal.unit, signal.size).reshape(channels, -1)
    if not np.allclose(units, units[:, :1], rtol=1e-9, atol=0.0):
        raise InputError("", [f"{name}: the scale of what it reads differs within a channel"])
    unit = units[:, 0] / (np.prod(kernel) if node.kind == "AvgPool2d" else 1)
    geometry = np.array(
        [channels, *size, channels, *out, *kernel, *stride, *pads, 1, 1, channels], np.int32
    )
    shape = (channels, int(out[0]), int(out[1]))
    unit = np.repeat(unit, out[0] * out[1]) if np.ptp(unit) else unit[:1]
    drive = Drive(name, signal, np.ones((channels, 1, *kernel)), shape, geometry)
    return drive, unit
