"""Weights of few bits that training chose: a scale a row, and the nearest integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.packed import FEWEST_BITS, MOST_BITS, largest_weight, store
from spikegpt_neuro.errors import InputError

FloatArray = npt.NDArray[np.float32]
_MODULES = {"srwkv": "att", "srffn": "ffn", "srffn_pre": "ffnPre"}
_BESIDE = "ffn_"
"""Beginning of the SRFFN's layers where both branches of a block have one path."""


def tensor_of(layer: str) -> str:
    """Name of the checkpoint's tensor that a dense layer's weights come from."""
    if layer == "head.projection":
        return "head.weight"
    block, index, path, part = layer.split(".")
    module = _MODULES.get(path, "ffn" if part.startswith(_BESIDE) else "att")
    return f"{block}.{index}.{module}.{part.removeprefix(_BESIDE)}.weight"


def to_integers(weight: FloatArray, scale: FloatArray, bits: int) -> npt.NDArray[np.int8]:
    """``clip(round(weight / scale), +-(2**(bits - 1) - 1))``: int8, ties to even, in float32.

    ``weight`` [outputs, inputs], ``scale`` [outputs]. The forward pass of training does the same.
    """
    limit = largest_weight(bits)
    return np.clip(np.rint(weight / scale[:, None]), -limit, limit).astype(np.int8)


@dataclass(frozen=True, eq=False)
class TrainedWeights:
    """A rounding (``layout.Rounding``): ``scales`` float32 [outputs] by tensor's name."""

    bits: int
    scales: Mapping[str, FloatArray]

    def __call__(
        self, name: str, weight: FloatArray
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
        """Integers, packed where they are fewer than 8 bits, and row scales of a dense layer."""
        scale = self.scales[tensor_of(name)]
        integers = to_integers(weight, scale, self.bits)
        return store(integers, self.bits), scale.astype(np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as stored in checkpoints."""
        import torch

        scales = {name: torch.from_numpy(scale.copy()) for name, scale in self.scales.items()}
        return {"bits": self.bits, "scales": scales}

    @classmethod
    def from_dict(cls, values: Any) -> TrainedWeights:
        """From a checkpoint; ``InputError`` lists what cannot be used."""
        if not isinstance(values, Mapping) or set(values) != {"bits", "scales"}:
            raise InputError("The checkpoint's weights cannot be used: bits and scales expected.")
        bits, scales = values["bits"], values["scales"]
        problems = []
        if type(bits) is not int or not FEWEST_BITS <= bits <= MOST_BITS:
            problems.append(f"weight bits are {bits!r}; allowed: {FEWEST_BITS}..{MOST_BITS}")
        if not isinstance(scales, Mapping):
            problems.append(f"scales are a {type(scales).__name__}, must map tensors to scales")
            scales = {}
        found = {}
        for name, value in scales.items():
            array = np.asarray(value)
            if (
                array.dtype != np.float32
                or array.ndim != 1
                or not (array > 0).all()
                or (not np.isfinite(array).all())
            ):
                problems.append(f"scales of {name!r}: must be positive float32 in one dimension")
            found[name] = array
        if problems:
            raise InputError("The checkpoint's weights cannot be used.", problems)
        return cls(bits, found)
