"""Plots of the studies: time against model size, density, depth and context length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what was measured; the files written."""
    written = []
    for name, plot in (
        ("sizes", _sizes), ("projection", _projection), ("firing", _firing), ("depth", _depth),
        ("context", _context),
    ):  # fmt: skip
        if name not in results:
            continue
        figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        plot(axes, results[name])
        axes.grid(alpha=0.3)
        path = folder / f"{name}.svg"
        figure.savefig(path)
        plt.close(figure)
        written.append(path)
    return written


def _milliseconds(entry: Mapping[str, float]) -> float:
    return 1e3 * entry["median"]


_LABELS = {
    "ours step": "ours, generating", "ours score": "ours, scoring",
    "torch step": "PyTorch fp32, generating", "torch score": "PyTorch fp32, scoring",
    "rwkv step": "PyPI rwkv fp32, generating", "rwkv score": "PyPI rwkv fp32, scoring",
}  # fmt: skip


def _sizes(axes: Any, results: Mapping[str, Any]) -> None:
    sizes = [entry["parameters"] / 1e6 for entry in results.values()]
    for name, label in _LABELS.items():
        times = [_milliseconds(entry["seconds_per_token"][name]) for entry in results.values()]
        axes.plot(sizes, times, "o-" if "step" in name else "s--", label=label)
    limit = [
        1e3 * e["weight_bytes_per_token_touched"] / e["probe_bytes_per_second"]["median"]
        for e in results.values()
    ]
    axes.plot(sizes, limit, "k:", label="int8 weights at memory speed")
    axes.set(
        xlabel="parameters, millions", ylabel="ms per token", yscale="log",
        title="Time a token, one thread",
    )  # fmt: skip
    axes.legend(fontsize="small")


def _projection(axes: Any, results: Mapping[str, Any]) -> None:
    for shape, rows in results.items():
        for binary, style in ((False, "o-"), (True, "s--")):
            chosen = [row for row in rows if row["binary"] is binary]
            axes.plot(
                [100 * row["density"] for row in chosen],
                [row["event_driven_times_dense"]["median"] for row in chosen],
                style, label=f"{shape}, {'binary' if binary else 'graded'}",
            )  # fmt: skip
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set(
        xlabel="active inputs, %", ylabel="times the dense walk", xscale="log", yscale="log",
        title="Event-driven walk of one projection",
    )  # fmt: skip
    axes.legend(fontsize="small")


def _firing(axes: Any, results: Mapping[str, Any]) -> None:
    rates = [100 * row["operand_density"] for row in results["rates"]]
    for name, style in (("spike-driven", "o-"), ("upstream", "--"), ("upstream dense", ":")):
        times = [_milliseconds(row["seconds_per_token"][name]) for row in results["rates"]]
        axes.plot(rates, times, style, label=name)
    axes.set(
        xlabel="active operands of the projections, %", ylabel="ms per token", ylim=(0, None),
        title=f"Whole network, {results['class']}",
    )  # fmt: skip
    axes.legend(fontsize="small")


def _depth(axes: Any, results: Mapping[str, Any]) -> None:
    times = results["seconds_per_token"]
    axes.plot([int(name) for name in times], [_milliseconds(e) for e in times.values()], "o-")
    axes.set(
        xlabel="blocks", ylabel="ms per token", xlim=(0, None), ylim=(0, None),
        title="Time a token against depth",
    )  # fmt: skip


def _context(axes: Any, results: Mapping[str, Any]) -> None:
    lengths = [int(name) for name in results["lengths"]]
    times = [_milliseconds(e["seconds_per_token"]) for e in results["lengths"].values()]
    axes.plot(lengths, times, "o-")
    axes.set(
        xlabel="tokens before", ylabel="ms per token", xscale="log", ylim=(0, None),
        title=f"Time a token against context, {results['class']}",
    )  # fmt: skip
