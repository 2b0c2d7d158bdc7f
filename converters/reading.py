"""How a checkpoint is read: what was asked for, or what its predictions of a text say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.converters.checkpoint import RELEASED_LAYOUTS, RWKV, UPSTREAM, Checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.converters.float_parts import FloatParts
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration

TRIAL_TOKENS = 1024
"""Tokens on which the readings of a file are compared that its names cannot tell apart."""


class Reading:
    """The configuration a checkpoint is read with, and ``notes`` on what decided.

    ``windows`` int64 [windows, tokens]: the calibration text, None where there is none;
    ``characters_per_token`` of it, to speak of bits per character. Raises ``InputError`` where what
    ``options`` ask for is not what the file holds.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        inferred: SpikeGPTConfiguration,
        options: ExportOptions,
        parts: FloatParts,
        windows: npt.NDArray[np.int64] | None,
        characters_per_token: float,
    ) -> None:
        self._checkpoint, self._options, self._parts = checkpoint, options, parts
        self._windows, self._characters_per_token = windows, characters_per_token
        self.notes: list[str] = []
        self.configuration = self._with_options(inferred.to_dict())

    def _with_options(self, values: dict[str, Any]) -> SpikeGPTConfiguration:
        options, path = self._options, self._checkpoint.path
        known = bool(self._checkpoint.configuration) or values["layout"] == RWKV
        told = self._checkpoint.architecture.known
        if options.layout not in ("auto", values["layout"]) and (
            known or "layout" in told or options.layout not in RELEASED_LAYOUTS
        ):
            raise InputError(
                f"{path} is in the {values['layout']} layout, not in {options.layout}."
            )
        if options.rescale_every and values["layout"] not in RELEASED_LAYOUTS:
            raise InputError("--rescale-every is not for the spike-driven layout.")
        values["rescale_every"] = options.rescale_every or values["rescale_every"]
        if known:
            if values["layout"] == RWKV and not self._checkpoint.configuration:
                values["embedding"] = told.get("embedding", "real")
            if options.embedding != "auto":
                values["embedding"] = options.embedding
            return SpikeGPTConfiguration.from_dict(values)
        return self._most_likely(values)

    def _most_likely(self, values: dict[str, Any]) -> SpikeGPTConfiguration:
        """The reading of a file with the released names: asked for, or told by its predictions."""
        options, known = self._options, self._checkpoint.architecture.known
        layouts, embeddings = (
            every if asked == "auto" else (asked,)
            for asked, every in (
                (options.layout, (known["layout"],) if "layout" in known else RELEASED_LAYOUTS),
                (
                    options.embedding,
                    (known["embedding"],) if "embedding" in known else ("binary", "real"),
                ),
            )
        )
        readings = [
            SpikeGPTConfiguration.from_dict({**values, "layout": layout, "embedding": embedding})
            for layout in layouts
            for embedding in embeddings
            # plain RWKV-4 has no binary embedding
            if layout != RWKV or embedding == "real" or options.embedding == "binary"
        ]
        if len(readings) == 1:
            return readings[0]
        if self._windows is None:
            self.notes += self._assumptions(readings[0])
            return readings[0]
        windows = self._windows[: max(1, TRIAL_TOKENS // self._windows.shape[1])]
        bits = [
            self._parts.bits_per_token(windows, reading) / self._characters_per_token
            for reading in readings
        ]
        found = sorted(zip(bits, range(len(readings)), strict=True))
        chance = math.log2(values["vocab_size"]) / self._characters_per_token
        if len(layouts) > 1 and found[0][0] >= chance:
            # a model that predicts nothing cannot tell what it is
            self.notes += self._assumptions(readings[0])
            found = [(value, i) for value, i in found if readings[i].layout == UPSTREAM]
        best = readings[found[0][1]]
        listed = ", ".join(
            f"{readings[i].layout} with {readings[i].embedding} embedding {value:.3f}"
            for value, i in found
        )
        self.notes.append(
            f"read as {best.layout} with {best.embedding} embedding, by its bits per character on "
            f"the calibration text ({listed}); --layout and --embedding decide otherwise"
        )
        return best

    def _assumptions(self, reading: SpikeGPTConfiguration) -> Iterator[str]:
        """What is assumed where no text tells, or none that the model predicts."""
        known = self._checkpoint.architecture.known
        if self._options.layout == "auto" and "layout" not in known:
            yield (
                "assumed to be a SpikeGPT: a plain RWKV-4 has the same names; --layout rwkv says "
                "that it is one, and --calibration with a text it can predict tells them apart"
            )
        if self._options.embedding == "auto" and "embedding" not in known and self._windows is None:
            yield (
                f"embedding assumed {reading.embedding}: without a calibration text nothing tells; "
                "use --embedding to say"
            )
