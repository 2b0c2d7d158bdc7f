"""What each projection's reduction costs the network, and the fewest bits under a given loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.packed import FEWEST_BITS, MOST_BITS
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.budget import least
from spikegpt_neuro.converters.moments import Moments
from spikegpt_neuro.converters.reduction import Candidate, Choice, Progress, adopt, candidate, fits
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.predictions import prediction_bits

PROBING_TOKENS = 1_024
"""Tokens on which the effect of reducing one projection alone is measured."""
PROBED_BITS = (2, 4)
"""Widths at which it is measured; between and beyond them it follows a power of the error."""
LEAST_SLOPE, MOST_SLOPE = 0.5, 1.5
ATTEMPTS = 8
"""Times bits are chosen anew where the losses did not add up as foreseen: they rarely do, as most
of what changes the predictions makes as many better as worse."""
MARGIN, CLOSE = 0.9, 0.7
"""Shares of the allowed loss to stay below, for other texts than this one, and to be content at."""


class CandidateStore(Protocol):
    """Keeps candidates from one search to the next."""

    def get(self, name: str) -> list[Candidate] | None:
        """Those of a projection, or None."""

    def put(self, name: str, found: Sequence[Candidate]) -> None:
        """Keep them."""


Table = Mapping[str, Sequence[Candidate]]
"""What each projection may become, by layer name."""


@dataclass(frozen=True)
class Sensitivity:
    """Loss of a projection by the error of its rounding: ``loss = exp(offset) error**slope``."""

    offset: float
    slope: float

    def loss(self, error: float) -> float:
        """Bits a token."""
        return math.exp(self.offset) * error**self.slope if error > 0 else 0.0


def log_probabilities(
    network: LanguageModel, windows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Natural logarithms of what the network foresees after each token: [tokens, vocabulary]."""
    found = []
    with EmulatorSession(network) as session:
        for window in windows:
            session.reset()
            real = session.score(window.tolist()) * network.logit_scale
            real -= real.max(axis=1, keepdims=True)
            found.append(real - np.log(np.exp(real).sum(axis=1, keepdims=True)))
    return np.concatenate(found)


def divergence(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float:
    """Mean Kullback-Leibler divergence of two sets of predictions, in bits a token.

    The loss that the change of a network is expected to bring; never negative, and far less noisy
    on a short text than a difference of losses.
    """
    return float((np.exp(before) * (before - after)).sum(axis=1).mean() / math.log(2.0))


def mean_bits(network: LanguageModel, windows: npt.NDArray[np.int64]) -> float:
    """Bits a token of a text cut in windows, state afresh in each."""
    bits = []
    with EmulatorSession(network) as session:
        for window in windows:
            session.reset()
            logits = session.score(window[:-1].tolist())
            bits.append(prediction_bits(logits, window[1:], network.logit_scale))
    return float(np.concatenate(bits).mean())


def candidates(
    network: LanguageModel, moments: Moments, choices: Sequence[Choice], *, threads: int = 1,
    store: CandidateStore | None = None,
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, list[Candidate]]:  # fmt: skip
    """Every projection rounded in every way of ``choices``, in the network's order.

    Ways that do not fit (``reduction.fits``) are left out. What ``store`` holds is not computed
    again; what is computed is put there.
    """
    names = [layer.name for layer in network.layers if isinstance(layer, Dense)]
    table: dict[str, list[Candidate]] = {}

    def done(name: str, found: list[Candidate]) -> None:
        table[name] = found
        progress("rounding", len(table), len(names))

    def made(name: str, moment: npt.NDArray[np.float32]) -> list[Candidate]:
        found = [
            one for one in candidate(network, name, choices, moment) if fits(network, name, one)
        ]
        if store is not None:
            store.put(name, found)
        return found

    with ThreadPoolExecutor(threads) as pool:
        waiting: dict[str, Future[list[Candidate]]] = {}
        for name in names:
            known = None if store is None else store.get(name)
            if known is not None:
                done(name, known)
                continue
            # moments in this thread: they come from one session
            waiting[name] = pool.submit(made, name, moments(name))
            while len(waiting) > threads:
                first = next(iter(waiting))
                done(first, waiting.pop(first).result())
        for name, future in waiting.items():
            done(name, future.result())
    return {name: table[name] for name in names}


def sensitivities(
    network: LanguageModel, table: Table, windows: npt.NDArray[np.int64], *, threads: int = 1,
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, Sensitivity]:  # fmt: skip
    """Measure what reducing each projection alone does to the predictions."""
    count = max(1, PROBING_TOKENS // windows.shape[1])
    chosen = windows[np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int)]
    before = log_probabilities(network, chosen)

    def measured(name: str) -> Sensitivity:
        points = []
        for one in _probes(table[name]):
            after = log_probabilities(adopt(network, {name: one}), chosen)
            loss = max(divergence(before, after), 1e-9)
            points.append((math.log(max(one.error, 1e-9)), math.log(loss)))
        (x0, y0), (x1, y1) = points[0], points[-1]
        slope = (y0 - y1) / (x0 - x1) if x0 - x1 > 1e-3 else 1.0
        slope = min(max(slope, LEAST_SLOPE), MOST_SLOPE)
        # through the middle of both in logarithms: neither is trusted more
        return Sensitivity((y0 + y1) / 2 - slope * (x0 + x1) / 2, slope)

    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, sensitivity in zip(table, pool.map(measured, table), strict=True):
            found[name] = sensitivity
            progress("sensitivity", len(found), len(table))
    return found


def divergences_alone(
    network: LanguageModel,
    chosen: Mapping[str, Candidate],
    windows: npt.NDArray[np.int64],
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, float]:
    """Divergence of the predictions, bits a token, when each projection alone is reduced."""
    count = max(1, PROBING_TOKENS // windows.shape[1])
    before = log_probabilities(network, windows[:count])
    found = {}
    for name, one in chosen.items():
        after = log_probabilities(adopt(network, {name: one}), windows[:count])
        found[name] = divergence(before, after)
        progress("divergence", len(found), len(chosen))
    return found


def _probes(options: Sequence[Candidate]) -> list[Candidate]:
    """The options measured: unpruned ones of the probed widths, or the two that change most."""
    plain = [o for o in options if not o.choice.prunes and o.choice.bits in PROBED_BITS]
    return sorted(plain or options, key=lambda option: -option.error)[:2]


def fewest_bits(
    network: LanguageModel, windows: npt.NDArray[np.int64], moments: Moments, max_loss: float,
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, Choice]:  # fmt: skip
    """Bits of every projection: the fewest bytes that lose at most ``max_loss`` bits a token.

    Losses of single projections are taken to add up to some multiple of what they cost alone; the
    whole is scored on the text, and chosen anew until it loses about as much as is allowed.
    """
    widths = [Choice(bits) for bits in range(FEWEST_BITS, MOST_BITS + 1)]
    table = candidates(network, moments, widths, progress=progress)
    known = sensitivities(network, table, windows, progress=progress)
    losses = [[known[name].loss(o.error) for o in options] for name, options in table.items()]
    sizes = [[float(option.bytes) for option in options] for options in table.values()]
    before = mean_bits(network, windows)
    allowed, best = max_loss, dict[str, Candidate]()
    for attempt in range(ATTEMPTS):
        picked = least(sizes, losses, allowed)
        chosen = {
            name: options[index]
            for (name, options), index in zip(table.items(), picked, strict=True)
        }
        lost = mean_bits(adopt(network, chosen), windows) - before
        progress("choosing bits", attempt + 1, ATTEMPTS)
        if lost <= MARGIN * max_loss and (not best or _bytes(chosen) < _bytes(best)):
            best = chosen
        if CLOSE * max_loss <= lost <= MARGIN * max_loss:
            break
        allowed *= min(4.0, max(0.25, MARGIN * max_loss / max(lost, 1e-6)))
    if not best:
        raise InputError(
            f"no choice of bits lost at most {max_loss:g} bits a token on this text.",
            advice="Allow more loss, or give a longer calibration text.",
        )
    return {name: option.choice for name, option in best.items()}


def _bytes(chosen: Mapping[str, Candidate]) -> int:
    return sum(option.bytes for option in chosen.values())
