"""A study: one network, one text, any number of hardware targets, and the opponents beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import Backend, Session, Steps
from spikegpt_neuro.energy.activity import activities
from spikegpt_neuro.energy.arrival import (
    NOT_IN_RATES,
    RATES,
    ArrivalRow,
    arrival_rows,
    check_rates,
)
from spikegpt_neuro.energy.baselines import Comparison, compare, measured_paper_formula
from spikegpt_neuro.energy.batches import (
    BATCHES,
    BatchRow,
    ReadsCounter,
    SharedReads,
    batch_rows,
    check_batches,
)
from spikegpt_neuro.energy.choosing import choice_counter, closed_loop_problem
from spikegpt_neuro.energy.claims import Claim, claims
from spikegpt_neuro.energy.decisions import Decisions, decisions_dict
from spikegpt_neuro.energy.mapping_choice import Aim
from spikegpt_neuro.energy.paper_formula import PaperFormula
from spikegpt_neuro.energy.report import EnergyReport, build_reports
from spikegpt_neuro.energy.streams import (
    NOT_IN_STREAMS,
    STREAMS,
    StreamRow,
    check_streams,
    stream_rows,
)
from spikegpt_neuro.energy.timing import EVERY_MODE
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.events.measurement import Measurement
from spikegpt_neuro.hardware_profiles import Profile, load_profile
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.readers.json_file import read_json

Progress = Callable[[int, int], None]

DEFAULT_PROFILES: Final = ("cmos45-int8", "loihi1-paper", "loihi2")
"""What a first report shows: arithmetic, published circuit figures, and the target chip."""

WINDOWS: Final = 40
"""Points of the curves over the text."""
RASTER_TOKENS: Final = 160
"""Tokens whose spikes are kept, from the beginning of the text."""
RASTER_NEURONS: Final = 16
"""Neurons of each LIF layer whose spikes are kept, spread evenly."""
_NOT_COUNTED = "the run did not count what choosing tokens takes, as `energy --text` does"
CONTEXT: Final = 1024
"""Context length of the transformer opponent, as in the SpikeGPT paper."""


@dataclass(frozen=True, eq=False, repr=False)
class TextRun:
    """What happened while a backend read a text.

    ``windows``: counters of consecutive stretches of the text; they add up to ``counters``.
    ``spikes``: those of a sample of each LIF layer's neurons, int32 [tokens, neurons].
    ``measurement``: what a board's profilers measured of the run, where it ran on one.
    ``reads``: the weights that batches of its tokens share, where the backend shows operands.
    ``choosing``: ``counters`` with those of the layers that would choose each next token, where
    they were asked for.
    """

    backend: str
    counters: Counters
    windows: tuple[Counters, ...]
    spikes: Mapping[str, npt.NDArray[np.int32]]
    measurement: Measurement | None = None
    reads: tuple[SharedReads, ...] = ()
    choosing: Counters | None = None

    def __repr__(self) -> str:
        return f"<TextRun: {self.counters.tokens:,} tokens on {self.backend}>"

    @cached_property
    def boundaries(self) -> tuple[int, ...]:
        """Number of tokens read at the end of each window."""
        ends, total = [], 0
        for window in self.windows:
            total += window.tokens
            ends.append(total)
        return tuple(ends)


def run_text(
    backend: Backend, network: Network, tokens: Steps, *, windows: int = WINDOWS,
    batches: Sequence[int] = (), chooses: bool = False, progress: Progress | None = None,
) -> TextRun:  # fmt: skip
    """Let ``backend`` read ``tokens`` (for a chain a raster) and count; state is carried through.

    ``batches``: count the weights that so many tokens share (``energy.batches``; not of a chain).
    ``chooses``: count what a chip would do to choose each next token, where the network can.
    Raises InputError for an empty text or raster.
    """
    if not len(tokens):
        raise InputError("The text has no token, so there is nothing to count.")
    measuring = backend.measuring()
    if measuring is not None:  # a board is profiled over one run
        backend, windows = measuring, 1
    edges = np.linspace(0, len(tokens), min(windows, len(tokens)) + 1).round().astype(int).tolist()
    spiking = _visible(backend, network)
    reads = ReadsCounter(network, batches, len(tokens))
    shared = reads.operands if set(reads.operands) <= set(backend.traceable(network)) else ()
    chooser = choice_counter(network) if chooses else None
    with backend.open(network, trace={*spiking, *shared}) as session:
        record = _Record(network, session, spiking)
        for begin, end in pairwise(edges):
            logits = session.score(tokens[begin:end])
            if chooser is not None:
                chooser.add(logits)
            record.keep_spikes(end - begin)
            for name in shared:
                reads.add(name, begin, session.trace(name))
            record.end_window()
            if progress is not None:
                progress(end, len(tokens))
    run = record.run(backend)
    choosing = None if chooser is None else chooser.counters(run.counters)
    return replace(run, reads=reads.counted() if shared else (), choosing=choosing)


def run_texts(
    backend: Backend, network: LanguageModel, texts: Sequence[Sequence[int]], *,
    windows: int = WINDOWS, spikes: bool = True, progress: Progress | None = None,
) -> tuple[TextRun, tuple[npt.NDArray[np.int32], ...]]:  # fmt: skip
    """Let ``backend`` read texts, each from rest, and count; windows are of whole texts.

    Beside the run the readouts of each text, int32 [T, outputs]. ``spikes`` False keeps none of
    them, which is faster. Raises InputError without texts, or for one without tokens.
    """
    empty = [f"text {i}" for i, text in enumerate(texts, 1) if not len(text)]
    if empty or not texts:
        raise InputError("a text without tokens cannot be read.", empty or ["there is no text"])
    ends = set(np.linspace(0, len(texts), min(windows, len(texts)) + 1).round().astype(int))
    found = []
    spiking = _visible(backend, network) if spikes else []
    with backend.open(network, trace=spiking) as session:
        record = _Record(network, session, spiking)
        for number, text in enumerate(texts, 1):
            session.reset()
            found.append(session.score([int(token) for token in text]).copy())
            record.keep_spikes(len(text))
            if number in ends:
                record.end_window()
            if progress is not None:
                progress(number, len(texts))
    return record.run(backend), tuple(found)


def _visible(backend: Backend, network: Network) -> list[str]:
    """The spiking layers that the backend can show."""
    visible = set(backend.traceable(network))
    return [name for name in network.spiking_layers if name in visible]


class _Record:
    """What a session did, window by window, and the spikes of its first tokens."""

    def __init__(self, network: Network, session: Session, spiking: Sequence[str]) -> None:
        self._network, self._session, self._spiking = network, session, spiking
        self._windows: list[Counters] = []
        self._seen = Counters()
        self._spikes: dict[str, list[npt.NDArray[np.int32]]] = {}
        self._kept = 0

    def keep_spikes(self, tokens: int) -> None:
        """Of the stretch of ``tokens`` just read, as many as are wanted."""
        wanted = min(tokens, RASTER_TOKENS - self._kept)
        if wanted <= 0:
            return
        for name in self._spiking:
            pick = _spread(self._network[name].output.size)
            spikes = self._session.trace(name)[:wanted, pick].copy()
            self._spikes.setdefault(name, []).append(spikes)
        self._kept += wanted

    def end_window(self) -> None:
        """What was counted since the last window is a window."""
        now = self._session.counters
        self._windows.append(now - self._seen)
        self._seen = now

    def run(self, backend: Backend) -> TextRun:
        """All of it, once the session is closed."""
        spikes = {name: np.concatenate(parts) for name, parts in self._spikes.items()}
        windows, measurement = tuple(self._windows), self._session.measurement
        return TextRun(backend.name, self._seen, windows, spikes, measurement)


def _spread(size: int) -> npt.NDArray[np.int64]:
    """Indices of the sampled neurons of a layer."""
    count = min(size, RASTER_NEURONS)
    return np.arange(count, dtype=np.int64) * size // count


def read_counted_run(path: Path, network: Network) -> TextRun:
    """A run counted before: the ``counters`` of the JSON that ``score`` printed for a corpus.

    Raises InputError if the file is not that, or counts layers of another network.
    """
    advice = "Write it with `spikegpt-neuro score NET FOLDER --json > FILE`."
    values = read_json(path, "counters", advice)
    if not isinstance(values.get("counters"), dict):
        raise InputError(f"{path} holds no counters.", advice=advice)
    counters = Counters.from_dict(values["counters"])
    if set(counters.layers) != set(network.by_name) or counters.tokens == 0:
        raise InputError(f"{path} counts another network, or nothing.")
    return TextRun("counted before", counters, (counters,), {})


@dataclass(frozen=True)
class Rows:
    """Which batches, numbers of interleaved streams and tokens a second a study shows.

    Raises InputError for one that cannot be.
    """

    batches: tuple[int, ...] = BATCHES
    streams: tuple[int, ...] = STREAMS
    rates: tuple[float, ...] = RATES

    def __post_init__(self) -> None:
        check_batches(self.batches)
        check_streams(self.streams)
        check_rates(self.rates)

    def only(
        self, batches: Sequence[int] | None = None, streams: Sequence[int] | None = None,
        rates: Sequence[float] | None = None,
    ) -> Rows:  # fmt: skip
        """These instead, where some are given."""
        return Rows(
            tuple(batches or self.batches), tuple(streams or self.streams),
            tuple(rates or self.rates),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Reports of all targets and modes over one run, and comparisons in every arithmetic profile.

    ``measurements``: what boards measured of this network, beside the reports' estimates.
    ``text`` names what was read. The first report is the one single figures are taken from.
    ``paper`` is the SpikeGPT paper's table with the paper's own energies; ``claims`` are the
    answers for chips and machines, those for arithmetic are in the comparisons. ``decisions``:
    those of a classifier, where the run was over labelled or single texts. ``rows``: the batches,
    streams and arrival rates of ``batches``, ``streams`` and ``arrivals``.
    """

    network: Network
    text: str
    run: TextRun
    reports: tuple[EnergyReport, ...]
    comparisons: tuple[Comparison, ...]
    paper: PaperFormula | None
    claims: tuple[Claim, ...]
    measurements: tuple[Measurement, ...] = ()
    decisions: Decisions | None = None
    rows: Rows = Rows()
    arithmetic: tuple[Profile, ...] = ()

    def __repr__(self) -> str:
        lines = [f"  {report!r}" for report in self.reports]
        return "\n".join([f"<Study of {self.network!r} over {self.run!r}:", *lines]) + ">"

    @property
    def main(self) -> EnergyReport:
        """The first report that has an energy, else the first."""
        return next((r for r in self.reports if r.energy is not None), self.reports[0])

    def firing_rates(self) -> dict[str, list[float]]:
        """Share of firing neurons of each LIF layer, window by window."""
        return {
            name: [
                w.count(name, "output_events") / (w.tokens * self.network[name].output.size)
                for w in self.run.windows
            ]
            for name in self.network.spiking_layers
        }

    def mean_rate(self, name: str) -> float:
        """Share of firing neurons of a LIF layer over the whole text."""
        counters = self.run.counters
        possible = counters.tokens * self.network[name].output.size
        return counters.count(name, "output_events") / possible

    @cached_property
    def batches(self) -> tuple[BatchRow, ...]:
        """Rows of every arithmetic profile that was compared with."""
        layers = activities(self.network, self.run.counters)
        return tuple(
            row
            for profile in self.arithmetic
            for row in batch_rows(layers, self.run.reads, profile, self.rows.batches)
        )

    @cached_property
    def streams(self) -> tuple[StreamRow, ...]:
        """Rows of every report of generation on a chip with known times."""
        return tuple(
            row for report in self.reports for row in stream_rows(report, self.rows.streams)
        )

    @cached_property
    def arrivals(self) -> tuple[ArrivalRow, ...]:
        """Rows of the same reports."""
        return tuple(
            row for report in self.reports for row in arrival_rows(report, self.rows.rates)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. ``energy_joules_per_token`` is that of ``main``."""
        main = self.main.to_dict()
        head = {
            key: main[key]
            for key in (
                "profile", "mode", "energy_joules_per_token", "energy_joules_per_token_low",
                "energy_joules_per_token_high", "energy_note", "spike_statement",
                "synaptic_operations_per_token",
            )
        }  # fmt: skip
        return {
            "text": self.text,
            "tokens": self.run.counters.tokens,
            "backend": self.run.backend,
            "layout": self.network.info.layout,
            **head,
            "reports": [report.to_dict() for report in self.reports],
            "decisions": (
                None if self.decisions is None else decisions_dict(self.decisions, self.reports)
            ),
            "measurements": [measurement.to_dict() for measurement in self.measurements],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "paper_formula": None if self.paper is None else self.paper.to_dict(),
            "claims": [claim.to_dict() for claim in self.claims],
            "batches": [row.to_dict() for row in self.batches],
            "streams": [row.to_dict() for row in self.streams],
            "arrival_rates": [row.to_dict() for row in self.arrivals],
            "not_in_rows": [*NOT_IN_STREAMS, *NOT_IN_RATES],
            "firing_rates": {
                "window_end_tokens": list(self.run.boundaries),
                "by_layer": self.firing_rates(),
            },
            "counters": self.run.counters.to_dict(),
        }


def build_study(
    network: Network, run: TextRun, profiles: Sequence[Profile], *, text: str = "",
    modes: Sequence[str] = EVERY_MODE, packing: str = "middle", context: int = CONTEXT,
    measured: Sequence[Measurement] = (), decisions: Decisions | None = None,
    rows: Rows | None = None, aim: Aim | None = None,
) -> Study:  # fmt: skip
    """Price a run for every profile and mode, and compare it with its opponents.

    ``measured``: measurements to stand beside the estimates, besides the run's own.
    ``decisions``: of a classifier in that run. ``rows``: which batches, streams and arrival rates
    to show; those of the run's ``reads`` are known, and a batch of one. ``aim``: what mappings are
    to be the least of.

    Opponents are priced with every arithmetic profile given, or with ``cmos45-int8``. Raises
    InputError without any profile, and for everything ``build_report`` refuses.
    """
    if not profiles:
        raise InputError("Name at least one hardware profile.")
    reports = build_reports(
        network, run.counters, profiles, modes=modes, packing=packing, aim=aim,
        choosing=run.choosing,
    )  # fmt: skip
    if not reports:
        raise InputError(
            "none of these profiles has a report in these modes:",
            [f"{p.name}: {closed_loop_problem(network, p) or _NOT_COUNTED}" for p in profiles],
        )
    arithmetic = [p for p in profiles if p.method == "arithmetic"] or [load_profile("cmos45-int8")]
    layers = activities(network, run.counters)
    comparisons = tuple(compare(network, layers, p, context) for p in arithmetic)
    paper = None  # the paper's table is of language models
    if isinstance(network, LanguageModel):
        paper = measured_paper_formula(network, layers, load_profile("cmos45-fp32"), context)
    own = () if run.measurement is None else (run.measurement,)
    return Study(
        network,
        text,
        run,
        reports,
        comparisons,
        paper,
        claims(reports),
        (*own, *measured),
        decisions,
        rows or Rows(),
        tuple(arithmetic),
    )
