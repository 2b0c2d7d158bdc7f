"""The pictures of the documentation, drawn from a real run of a shipped example.

    python docs/make/pictures.py [--network model.net]

Without a network the tutorial's is exported first. The same network gives the same bytes;
``tests/docs`` draws them again and compares.
"""

from __future__ import annotations

import argparse
import html
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import spikegpt_neuro as sn
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.reports import charts
from spikegpt_neuro.reports.chart_kinds import PALETTE, Chart
from spikegpt_neuro.reports.svg import WIDTH, draw, number

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
EXAMPLE = ROOT / "examples" / "spike-driven-graded" / "graded.pt"
TEXTS = ROOT / "examples" / "kjv-4x192"
PROMPT = "In the beginning God created the heaven and the earth."
NEURONS = 24
STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#1a1a1a}.small{font-size:10.5px}"
    ".bold{font-weight:600}.mono{font:13px ui-monospace,monospace}.axis{stroke:#1a1a1a}"
    ".grid,.outline{stroke:#c9ccd1;fill:none}</style>"
)


def image(width: float, height: float, title: str, description: str, body: Sequence[str]) -> str:
    """A drawing with its title and description for screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {number(width)} '
        f'{number(height)}" aria-labelledby="t d">{STYLE}<title id="t">{html.escape(title)}</title>'
        f'<desc id="d">{html.escape(description)}</desc>{"".join(body)}</svg>\n'
    )


def chart(drawn: Chart, width: int = WIDTH) -> str:
    """A chart of the report with its style in it, cut to the width it fills."""
    text = draw(drawn, "chart").replace(f'viewBox="0 0 {WIDTH} ', f'viewBox="0 0 {width} ')
    return text.replace(">", f">{STYLE}", 1) + "\n"


def label(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    """Text at a place."""
    return (
        f'<text x="{number(x)}" y="{number(y)}" class="{css}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )


def spikes(prompt: str, layers: Mapping[str, npt.NDArray[np.int32]]) -> str:
    """Spikes over the characters that were read: one line a neuron, darker for a higher level."""
    left, step, high = 150.0, 11.0, 4.0
    body = [
        label(left + step * (t + 0.5), 14, character, "mono", "middle")
        for t, character in enumerate(prompt)
    ]
    y = 24.0
    top = max(int(values.max()) for values in layers.values())
    for index, (name, values) in enumerate(layers.items()):
        body.append(label(left - 10, y + high * values.shape[1] / 2 + 4, name, "small", "end"))
        for level in range(1, top + 1):
            marks = "".join(
                f"M{number(left + step * t)} {number(y + high * (k + 0.5))}h{number(step - 1.5)}"
                for t, k in np.argwhere(values == level).tolist()
            )
            body.append(
                f'<path stroke="{PALETTE[index]}" stroke-width="3" '
                f'opacity="{number(0.3 + 0.7 * level / top)}" d="{marks}"/>'
            )
        y += high * values.shape[1] + 10
    share = np.mean([(values != 0).mean() for values in layers.values()])
    return image(
        left + step * len(prompt) + 10, y,
        "Spikes of a trained network while it reads a verse",
        f"{NEURONS} neurons of {len(layers)} layers over {len(prompt)} characters; "
        f"{100 * share:.1f} % of the places hold a spike. Darker marks are higher levels.", body,
    )  # fmt: skip


def box(x: float, y: float, width: float, lines: Sequence[str], colour: str) -> str:
    """A box with a bold first line."""
    high = 20 + 15 * len(lines)
    shape = (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{high}" rx="6" '
        f'fill="{colour}" fill-opacity="0.13" stroke="{colour}"/>'
    )
    return shape + "".join(
        label(x + width / 2, y + 21 + 15 * i, line, "small" if i else "bold", "middle")
        for i, line in enumerate(lines)
    )


def arrow(path: str) -> str:
    """A line with a head at its end."""
    return f'<path class="axis" fill="none" marker-end="url(#head)" d="{path}"/>'


def architecture() -> str:
    """From a checkpoint to joules: what goes where, and the packages that do it."""
    blue, orange, green, pink, cyan = PALETTE[:5]
    head = (
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    body = [
        head,
        box(10, 20, 165, ["checkpoint", ".pt .pth .safetensors", "or: train, in PyTorch"], cyan),
        box(10, 120, 165, ["stock NetX, NIR", "chains of SLAYER and", "other frameworks"], cyan),
        box(225, 65, 150, ["converters, exchange", "calibrate, quantise,", "check"], orange),
        box(425, 65, 140, ["model.net", "integers, typed layers,", "SHA-256 of every byte"], blue),
        '<rect class="grid" x="612" y="4" width="176" height="236" rx="6" stroke-dasharray="5 4"/>',
        label(700, 22, "arithmetic: each integer", "small", "middle"),
        label(700, 36, "operation, once", "small", "middle"),
        box(625, 46, 150, ["emulator", "one compiled program"], green),
        box(625, 111, 150, ["lava, lava-fine", "Lava process graphs"], green),
        box(625, 176, 150, ["loihi2", "a board (INRC members)"], green),
        box(825, 46, 150, ["text, scores, spikes", "generate, score, trace"], pink),
        box(825, 111, 150, ["verify", "equal in every integer"], pink),
        box(825, 176, 150, ["events", "counted, layer by layer"], pink),
        box(225, 275, 150, ["hardware_profiles", "figures with sources"], orange),
        box(625, 275, 150, ["mapping", "cores, chips, rules"], orange),
        box(825, 275, 150, ["energy, reports", "joules with ranges"], pink),
        arrow("M175 55L222 85"), arrow("M175 150L222 115"), arrow("M375 97L422 97"),
        arrow("M565 85L622 72"), arrow("M565 97L622 130"), arrow("M565 110L622 195"),
        arrow("M775 71L822 71"), arrow("M775 136L822 136"), arrow("M775 201L822 201"),
        arrow("M900 226L900 272"), arrow("M495 130V290H622"), arrow("M375 307H622"),
        arrow("M775 300H822"),
    ]  # fmt: skip
    return image(
        985, 335, "How spikegpt-neuro is put together",
        "A checkpoint or a foreign graph is converted into model.net. Emulator, Lava and Loihi 2 "
        "execute it with the same integer operations; what they count is priced with hardware "
        "profiles and a mapping.", body,
    )  # fmt: skip


def draw_all(network: LanguageModel) -> dict[str, str]:
    """Every picture by its file name, of a network of the tutorial's checkpoint."""
    names = [name for name in network.spiking_layers if name.endswith("srffn.lif")]
    traced = {name.removesuffix(".lif"): sn.trace(network, PROMPT, name) for name in names}
    pick = np.arange(NEURONS) * network.info.n_embd // NEURONS
    study = sn.energy(network, (TEXTS / "kjv-valid.txt").read_text("ascii")[:4000], ["loihi2"])
    mapping = study.main.mapping
    assert mapping is not None
    return {
        "architecture.svg": architecture(),
        "energy.svg": chart(charts.energy_by_stage(study.main)),
        "mapping.svg": chart(charts.mapping_picture(mapping), 320),
        "spikes.svg": spikes(PROMPT, {name: found[:, pick] for name, found in traced.items()}),
    }


def main() -> None:
    """Write the pictures into docs/pictures."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--network", type=Path, help="exported from the tutorial's checkpoint")
    path = options.parse_args().network
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "model.net"
            sn.export(EXAMPLE, path, calibration=TEXTS / "kjv-train.txt")
        network = sn.load(path)
        assert isinstance(network, LanguageModel)
        for name, text in draw_all(network).items():
            (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
