"""A fit from what a person has: a network, a text like that it was trained on, and a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikegpt_neuro.converters.moments import sample_windows
from spikegpt_neuro.fitting.front import write_plot, write_table
from spikegpt_neuro.fitting.points import Budget, Fit
from spikegpt_neuro.fitting.search import Fitting, Mode
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.vocabulary import Vocabulary

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False, repr=False)
class TextFit:
    """A fit, and the text it was judged on: ``tokens`` of it, of so many characters each."""

    fit: Fit
    tokens: int
    characters_per_token: float

    def __repr__(self) -> str:
        point = self.fit.point
        return (
            f"<TextFit: {point.bits:.2f} bits a weight, {point.cores} cores on {point.chips} "
            f"chips, {self.loss_bits_per_character:+.4f} bits per character, front of "
            f"{len(self.fit.front)}>"
        )

    @property
    def network(self) -> LanguageModel:
        """The smaller network."""
        return self.fit.network

    @property
    def loss_bits_per_character(self) -> float:
        """What it loses against the network it was made from."""
        return self.fit.point.loss / self.characters_per_token

    def write(self, path: Path) -> None:
        """Write the network, and beside it the front as a table and a plot."""
        write_network(self.network, path)
        plot, table = front_files(path)
        write_table(self.fit.front, table)
        write_plot(self.fit.front, plot, self.characters_per_token)


def front_files(path: Path) -> tuple[Path, Path]:
    """Plot and table of the front beside a network."""
    plot, table = (path.with_name(f"{path.name}.front.{end}") for end in ("svg", "csv"))
    return plot, table


def fit_on_text(
    network: LanguageModel, text: str, vocabulary: Vocabulary, budget: Budget, profile: Profile, *,
    packing: str = "middle", mode: Mode = "fall-through", threads: int = 1,
    work: Path | None = None, progress: Told = lambda what, step, steps: None,
) -> TextFit:  # fmt: skip
    """The network that loses least on ``text`` under ``budget``; see ``search``.

    ``work``: folder in which what is computed is kept, so that a search broken off goes on.
    """
    tokens = vocabulary.encode(text)
    windows = sample_windows(network, tokens)
    search = Fitting(
        network, windows, profile, packing=packing, mode=mode, joules=budget.joules is not None,
        threads=threads, folder=work, progress=progress,
    )  # fmt: skip
    return TextFit(search.fit(budget), int(windows.size), len(text) / max(1, len(tokens)))
