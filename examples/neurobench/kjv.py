"""NeuroBench's language task on the example text: float model and integers, with our own counts.

cd examples/kjv-4x192
spikegpt-neuro export kjv-4x192.pth kjv.net --vocab kjv-4x192.vocab.json \\
        --calibration kjv-valid.txt
python ../neurobench/kjv.py kjv.net --against kjv-4x192.pth
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from spikegpt_neuro.comparison.float_model import load_float_model
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.neurobench import Counted, FloatModel, IntegerModel, counted, measure
from spikegpt_neuro.opening import open_network, vocabulary_of

TEXT = Path(__file__).parents[1] / "kjv-4x192" / "kjv-test.txt"
CONTEXT = 256


def main() -> None:
    parser = argparse.ArgumentParser(description="NeuroBench's metrics on the example text.")
    parser.add_argument("network", type=Path)
    parser.add_argument("--against", type=Path, help="the float checkpoint")
    parser.add_argument("--backend", default="emulator")
    parser.add_argument("--windows", type=int, default=20, help=f"of {CONTEXT} tokens")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    network = as_language_model(open_network(chosen.network))
    vocabulary = vocabulary_of(network, None)
    text = TEXT.read_text(encoding="ascii")
    tokens = torch.from_numpy(vocabulary.encode(text)[: chosen.windows * CONTEXT + 1])
    columns: dict[str, dict[str, Any]] = {}
    if chosen.against is not None:
        model = FloatModel(load_float_model(chosen.against, network))
        columns["float"] = measure(model, tokens, CONTEXT)
    with IntegerModel(network, chosen.backend) as integers:
        columns[chosen.backend] = measure(integers, tokens, CONTEXT)
        own = counted(integers)
    if chosen.json:
        print(json.dumps({"neurobench": columns, "own": asdict(own)}, indent=2))
        return
    show({name: flat(found) for name, found in columns.items()} | {"own counts": ours(own)})


def flat(found: dict[str, Any]) -> dict[str, Any]:
    """NeuroBench's results, its operations one by one."""
    operations = found["SynapticOperations"]
    return {name: v for name, v in found.items() if name != "SynapticOperations"} | operations


def ours(own: Counted) -> dict[str, Any]:
    """The own counts by NeuroBench's names."""
    return {
        "Footprint": own.footprint, "ConnectionSparsity": own.connection_sparsity,
        "ActivationSparsity": own.activation_sparsity, "Effective_MACs": own.effective_macs,
        "Effective_ACs": own.effective_acs, "Dense": own.dense,
    }  # fmt: skip


def show(columns: dict[str, dict[str, Any]]) -> None:
    print(f"{'':20}" + "".join(f"{name:>18}" for name in columns))
    for metric in next(iter(columns.values())):
        values = [column.get(metric) for column in columns.values()]
        cells = [
            "" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:,.4f}" for v in values
        ]
        print(f"{metric:20}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
