"""What a search computed, kept in a folder: one broken off goes on where it was."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.arithmetic.packed import PackedWeights, stored
from spikegpt_neuro.converters.reduction import Candidate, Choice
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.network.layers import Dense

_KEY = "search.json"
_SENSITIVITIES = "sensitivities.json"


class Store:
    """Candidates of each projection in a file of its own, written whole or not at all.

    ``key`` tells searches apart: a folder of another network, text or set of choices is refused.
    """

    def __init__(
        self, folder: Path, key: str, network: LanguageModel, choices: Sequence[Choice]
    ) -> None:
        self._folder, self._network, self._choices = folder, network, tuple(choices)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _KEY
        if path.exists():
            if _read(path) != {"key": key}:
                raise InputError(
                    f"{folder} keeps the search of another network, text or set of options.",
                    advice="Give the same ones, or remove the folder.",
                )
        else:
            _write(path, {"key": key})

    def get(self, name: str) -> list[Candidate] | None:
        """What was kept of a projection; None where nothing was."""
        path = self._path(name)
        if not path.exists():
            return None
        layer = self._network[name]
        assert isinstance(layer, Dense)
        found = []
        try:
            with np.load(path, allow_pickle=False) as file:
                for i, choice in enumerate(self._choices):
                    if f"weight{i}" not in file:
                        continue  # did not fit
                    words = file[f"weight{i}"]
                    weight = (
                        layer.weight
                        if words.size == 0
                        else PackedWeights(words, layer.operand_size, choice.bits)
                        if words.dtype == np.uint16
                        else words
                    )
                    found.append(Candidate(choice, weight, file[f"scale{i}"], file[f"errors{i}"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is damaged: {error}", advice="Remove it; it is computed again."
            ) from error
        return found

    def put(self, name: str, found: Sequence[Candidate]) -> None:
        """Keep the candidates of a projection; its weights as they are take no room."""
        own = self._network[name].weight  # type: ignore[attr-defined]
        arrays: dict[str, Any] = {}
        for one in found:
            i = self._choices.index(one.choice)
            words = np.zeros(0, np.int8) if one.weight is own else stored(one.weight)[0]
            arrays |= {f"weight{i}": words, f"scale{i}": one.scale, f"errors{i}": one.row_errors}
        with replaced_file(self._path(name)) as stream:
            np.savez(stream, **arrays)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"

    def sensitivities(self, names: Iterable[str]) -> dict[str, float] | None:
        """What was kept of the projections and populations ``names``, or None."""
        path = self._folder / _SENSITIVITIES
        if not path.exists():
            return None
        found = _read(path)
        if found.keys() != set(names) or not all(
            isinstance(value, float) and 0 < value < float("inf") for value in found.values()
        ):
            raise InputError(
                f"{path} does not hold one positive number for each projection and population.",
                advice="Remove it; it is computed again.",
            )
        return found

    def keep_sensitivities(self, found: Mapping[str, float]) -> None:
        """Keep them."""
        _write(self._folder / _SENSITIVITIES, found)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is damaged: {error}", advice="Remove its folder; all is computed again."
        ) from error
    return dict(found)


def _write(path: Path, value: object) -> None:
    with replaced_file(path) as stream:
        stream.write(json.dumps(value).encode("utf-8"))
