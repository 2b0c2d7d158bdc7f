"""What a group of a stock NetX file may hold, read key by key so that nothing goes unnoticed."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikegpt_neuro.network.schema import Array
from spikegpt_neuro.network.varied_neurons import Decay
from spikegpt_neuro.readers.hdf5 import Hdf5Group, Unreadable

NEVER = 1 << 17
"""A threshold that no voltage reaches, in units of 2**6; SLAYER writes 2**18 - 1 for it."""
LARGEST = 1 << 26
"""Most values of one dataset; checked before anything is read."""
_IGNORED_BY_STOCK = frozenset({"scaleRho", "tauRho", "theta", "wgtExp", "gradedSpike"})
"""Training-time keys of neurons that stock NetX reads past; their effect is in other keys."""


class GroupReader:
    """Reads one layer or neuron group; ``finish`` reports the keys nobody asked for."""

    def __init__(self, group: Any, where: str, problems: list[str]) -> None:
        self._group, self.where, self._problems = group, where, problems
        self._read: set[str] = set()
        self.index = where.rsplit(" ", 1)[-1]

    def problem(self, key: str, text: str) -> None:
        """Note what is wrong with a key."""
        self._problems.append(f"{self.where}/{key}: {text}")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return isinstance(self._group, Hdf5Group) and key in self._group

    def group(self, key: str) -> GroupReader:
        """A group inside this one."""
        self._read.add(key)
        return GroupReader(self._group.get(key), f"{self.where}/{key}", self._problems)

    def _value(self, key: str) -> Any:
        self._read.add(key)
        dataset = self._group.get(key) if isinstance(self._group, Hdf5Group) else None
        if isinstance(dataset, Unreadable):
            self.problem(key, dataset.problem)
            return None
        if not isinstance(dataset, np.ndarray):
            self.problem(key, "missing" if dataset is None else "must be a dataset")
            return None
        if not 1 <= dataset.size <= LARGEST:
            self.problem(key, f"{dataset.size} values")
            return None
        return dataset[()]

    def text(self, key: str) -> str:
        """A short text, stored alone or as an array of one."""
        value = self._value(key)
        if isinstance(value, np.ndarray):
            value = value.reshape(-1)[0]
        if isinstance(value, bytes):
            return value.decode("ascii", "replace")
        if value is not None and not isinstance(value, str):
            self.problem(key, "must be text")
        return value if isinstance(value, str) else ""

    def reals(self, key: str) -> Array:
        """Finite numbers, float64."""
        value = self._value(key)
        array = np.zeros(1) if value is None else np.asarray(value)
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            self.problem(key, "must be finite numbers")
            return np.zeros(1)
        return array.astype(np.float64)

    def integers(self, key: str) -> Array:
        """Whole numbers, in whatever type they are stored; int64."""
        value = self._value(key)
        if value is None:
            return np.zeros(1, np.int64)
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            self.problem(key, f"dtype {array.dtype}, must be numbers")
            return np.zeros(1, np.int64)
        if not np.isfinite(array).all() or np.abs(array).max() > 1 << 40:
            self.problem(key, "values must be finite and below 2**40")
            return np.zeros(1, np.int64)
        if (array != np.trunc(array)).any():
            self.problem(key, "values must be whole numbers (stock would drop the fractions)")
        return array.astype(np.int64)

    def integer(self, key: str) -> int:
        """One whole number."""
        values = self.integers(key)
        if values.size != 1:
            self.problem(key, f"{values.size} values, must be one")
        return int(values.reshape(-1)[0])

    def kernel(self) -> tuple[int, int]:
        """Height and width of a convolution's kernel: those of its weights, as stock NetX takes
        them; ``kernelSize``, which may be another, only where the weights do not say.
        """
        declared = self.pair("kernelSize") if self.has("kernelSize") else (1, 1)
        weight = self._group.get("weight") if isinstance(self._group, Hdf5Group) else None
        if isinstance(weight, np.ndarray) and weight.ndim >= 4:
            return int(weight.shape[2]), int(weight.shape[3])
        return declared

    def pair(self, key: str) -> tuple[int, int]:
        """Height and width; one number stands for both."""
        values = self.integers(key).reshape(-1)
        if values.size not in (1, 2):
            self.problem(key, f"{values.size} values, must be one or two")
        return int(values[0]), int(values[-1])

    def shape(self) -> tuple[int, ...]:
        """The layer's output shape, (C, H, W) or (features,); a trailing (n, 1, 1) is kept."""
        values = tuple(int(v) for v in self.integers("shape").reshape(-1))
        if min(values) < 1 or len(values) not in (1, 2, 3) or np.prod(values) > LARGEST:
            self.problem("shape", f"{values}, must be one to three sizes")
            return (1,)
        return values

    def weights(self, key: str, shape: tuple[int, ...]) -> Array | None:
        """Weights of ``shape``; a flat array or a trailing 1 is reshaped as stock does."""
        values = self.integers(key)
        if values.size != int(np.prod(shape)):
            self.problem(key, f"shape {values.shape}, must be {shape}")
            return None
        return values.reshape(shape)

    def check_range(self, weight: Array, *, convolution: bool = False) -> None:
        """Refuse weights that stock NetX would change (clip, or round to even)."""
        low, high = int(weight.min()), int(weight.max())
        mixed = low < 0 < high
        if mixed or convolution:
            fits = low >= -256 and high <= 254
            exact = (low >= -128 and high <= 127) or not (weight % 2).any()
        else:
            fits, exact = low >= -256 and high <= 255, True
        if not fits or not exact:
            self.problem(
                "weight",
                f"{low}..{high}: stock NetX would change these weights (it holds "
                "-256..254 in steps of 2, -128..127 in steps of 1)",
            )

    def cuba(self, shape: tuple[int, ...]) -> tuple[tuple[Decay, Decay], int]:
        """Decays of current and voltage, and the threshold, of CUBA (or LOIHI) neurons.

        A decay is one number, or int64, one a neuron of ``shape`` (C, H, W), made of one a channel
        as stock NetX broadcasts them.
        """
        size, channels = int(np.prod(shape)), shape[0]
        found: list[Decay] = []
        for key in ("iDecay", "vDecay"):
            values = self.integers(key).reshape(-1)
            if values.size not in (1, channels):
                self.problem(key, f"{values.size} values, must be 1, or {channels}, one a channel")
                values = values[:1]
            values = self._allowed_decay(key, values)
            shared = values.size == 1
            found.append(int(values[0]) if shared else np.repeat(values, size // channels))
        return (found[0], found[1]), self._neuron((), ("vThMant",))["vThMant"]

    def _allowed_decay(self, key: str, values: Array) -> Array:
        """The decays, brought into their range where one is outside, which is a problem."""
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 4096:
            self.problem(key, f"{low}" + (f"..{high}" if high > low else "") + ", allowed 0..4096")
        return np.clip(values, 0, 4096)

    def alif(self) -> dict[str, int]:
        """Decays, threshold and its step of ALIF neurons."""
        return self._neuron(("iDecay", "vDecay", "thDecay", "refDecay"), ("vThMant", "vThStep"))

    def _neuron(self, decays: tuple[str, ...], others: tuple[str, ...]) -> dict[str, int]:
        values = {key: self.integer(key) for key in (*decays, *others)}
        if "vThMant" in others:  # no voltage is above 2**23: larger thresholds are none either
            values["vThMant"] = min(values["vThMant"], NEVER)
        if self.has("refDelay") and self.integer("refDelay") != 1:
            self.problem("refDelay", "must be 1: stock NetX has no refractory period")
        if self.has("gradedSpike") and self.integer("gradedSpike") != 0:
            self.problem("gradedSpike", "graded spikes: stock NetX sends plain spikes")
        if self.has("wgtExp") and self.integer("wgtExp") != 0:
            self.problem("wgtExp", "must be 0: stock NetX ignores it")
        if self.has("weight_exp") and self.integers("weight_exp").any():
            self.problem(
                "weight_exp",
                "the power of two that SLAYER's WgtScaleBatchNorm divides by; stock NetX reads "
                "past it",
            )
        for key in decays:
            values[key] = int(self._allowed_decay(key, np.array(values[key])))
        return values

    def sigma_delta(self) -> int:
        """Threshold of sigma-delta neurons; they must be rectified, as stock runs them."""
        if self.has("activation") and self.text("activation").lower() != "relu":
            self.problem("activation", "must be relu: stock NetX applies no other")
        if self.has("sigma_output"):
            self._read.add("sigma_output")
            if not self.has("vThMant"):
                return 0  # a sigma only sums: it has no threshold
        return self.integer("vThMant")

    def finish(self) -> None:
        """Report unknown keys."""
        if not isinstance(self._group, Hdf5Group):
            return
        known = self._read | _IGNORED_BY_STOCK
        self._problems += [
            f"{self.where}: unknown key {key!r}" for key in sorted(set(self._group) - known)
        ]
