"""What each projection's reduction costs the network, and the fewest bits under a given loss.

The loss of a projection follows its rounding's error in proportion (the second order of an
expansion around a trained network, whose first vanishes); the factor is measured by reducing it,
and it alone, to the coarsest of its ways. Two figures are read off that: the difference of losses,
unbiased but noisy on a short text, and the divergence of the predictions, hardly noisy but several
times the loss, as most spikes that fall elsewhere make as many predictions better as worse. They
are joined by shrinkage (empirical Bayes, Efron and Morris 1973): divergences scaled to the losses
are what is expected, and a loss counts for more than that the less it is noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.packed import FEWEST_BITS, MOST_BITS
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.budget import least
from spikegpt_neuro.converters.moments import Moments, weights_of
from spikegpt_neuro.converters.one_thread import in_one_thread
from spikegpt_neuro.converters.reduction import Candidate, Choice, Progress, adopt, candidate, fits
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.predictions import prediction_bits

PROBING_PRODUCTS = 7.6e12
"""Multiplications that measuring all projections may cost: larger networks take fewer tokens."""
LEAST_TOKENS, MOST_TOKENS = 1_024, 8_192
"""Tokens on which the effect of reducing one projection alone is measured."""
LEAST_SHARE = 0.1
"""A measured gain is noise: a projection costs at least this share of what is expected of it."""
ATTEMPTS = 8
"""Times bits are chosen anew where the losses did not add up as foreseen."""
MARGIN, CLOSE = 0.8, 0.6
"""Shares of the allowed loss to stay below, for other texts than this one, and to be content at."""


class Option(Protocol):
    """What a part of a network may become."""

    @property
    def error(self) -> float:
        """Share of its output power that changes; 0: it stays as it is."""


AnyOption = TypeVar("AnyOption", bound=Option)


class CandidateStore(Protocol):
    """Keeps candidates from one search to the next."""

    def get(self, name: str) -> list[Candidate] | None:
        """Those of a projection, or None."""

    def put(self, name: str, found: Sequence[Candidate]) -> None:
        """Keep them."""


Table = Mapping[str, Sequence[Candidate]]
"""What each projection may become, by layer name."""


@dataclass(frozen=True)
class Probe:
    """What reducing one projection alone did. ``error``: of its rounding, share of output power.

    ``loss`` and its standard error ``deviation``, and ``divergence``: in bits a token.
    """

    error: float
    loss: float
    deviation: float
    divergence: float


def losses_per_error(probes: Sequence[Probe]) -> npt.NDArray[np.float64]:
    """Bits a token that each projection loses per unit of error; float64 [probes], positive.

    With losses ``y``, standard errors ``s`` and divergences ``d``: expected is ``p = a d``, ``a``
    the least squares fit of ``y`` by ``d`` in weights ``1 / s**2``; ``t**2 = mean((y - p)**2 -
    s**2)`` at least 0 is how much losses truly scatter around it; taken is
    ``p + t**2 / (t**2 + s**2) (y - p)``, at least ``LEAST_SHARE p``.
    """
    y, s, d, error = (
        np.array([getattr(probe, name) for probe in probes], np.float64)
        for name in ("loss", "deviation", "divergence", "error")
    )
    s, d = np.maximum(s, 1e-9), np.maximum(d, 1e-9)
    expected = max(float((y * d / s**2).sum() / (d * d / s**2).sum()), 1e-2) * d
    scatter = max(0.0, float(((y - expected) ** 2 - s**2).mean()))
    taken = expected + scatter / (scatter + s**2) * (y - expected)
    return np.maximum(taken, LEAST_SHARE * expected) / np.maximum(error, 1e-9)


def log_probabilities(
    network: LanguageModel, windows: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.float64]]:
    """Natural logarithms of what the network foresees after each token, window by window.

    float64 [tokens, vocabulary]; the state is afresh in each window.
    """
    with EmulatorSession(network) as session:
        for window in windows:
            session.reset()
            real = session.score(window.tolist()) * network.logit_scale
            real -= real.max(axis=1, keepdims=True)
            yield real - np.log(np.exp(real).sum(axis=1, keepdims=True))


def divergence(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float:
    """Mean Kullback-Leibler divergence of two sets of predictions, in bits a token.

    An upper bound of the loss that the change of a network brings, as a rule; never negative, and
    far less noisy on a short text than a difference of losses.
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


@in_one_thread
def candidates(
    network: LanguageModel, moments: Moments, choices: Sequence[Choice], *, threads: int = 1,
    store: CandidateStore | None = None, gains: Mapping[str, float] | None = None,
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, list[Candidate]]:  # fmt: skip
    """Every projection rounded in every way of ``choices``, in the network's order.

    Ways that do not fit (``reduction.fits``) are left out, with the gain of a projection's spikes
    where ``gains`` has one. What ``store`` holds is not computed
    again; what is computed is put there.
    """
    names = [layer.name for layer in network.layers if isinstance(layer, Dense)]
    table: dict[str, list[Candidate]] = {}

    def done(name: str, found: list[Candidate]) -> None:
        table[name] = found
        progress("rounding", len(table), len(names))

    def made(name: str, moment: npt.NDArray[np.float32]) -> list[Candidate]:
        found = [
            one
            for one in candidate(network, name, choices, moment)
            if fits(network, name, one, (gains or {}).get(name, 1.0))
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
    network: LanguageModel, windows: npt.NDArray[np.int64],
    table: Mapping[str, Sequence[AnyOption]],
    made: Callable[[LanguageModel, Mapping[str, AnyOption]], LanguageModel], *, threads: int = 1,
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, float]:  # fmt: skip
    """What each part loses per unit of error, in bits a token: measured, each alone.

    ``made`` gives the network with these options in place of its parts (``adopt`` of projections).
    """
    if not table:
        return {}
    work = len(table) * weights_of(network)
    chosen = _spread(windows, int(min(MOST_TOKENS, max(LEAST_TOKENS, PROBING_PRODUCTS / work))))
    before = list(log_probabilities(network, chosen))

    def measured(name: str) -> Probe:
        coarsest = max(table[name], key=lambda option: option.error)
        predictions = log_probabilities(made(network, {name: coarsest}), chosen)
        losses, divergences = [], []
        for window, known, after in zip(chosen, before, predictions, strict=True):
            told = np.arange(window.size - 1), window[1:]
            losses.append((known[told] - after[told]) / math.log(2.0))
            divergences.append(divergence(known, after))
        loss = np.concatenate(losses)
        return Probe(
            coarsest.error, float(loss.mean()), float(loss.std() / math.sqrt(loss.size)),
            float(np.mean(divergences)),
        )  # fmt: skip

    probes: list[Probe] = []
    with ThreadPoolExecutor(threads) as pool:
        for probe in pool.map(measured, table):
            probes.append(probe)
            progress("sensitivity", len(probes), len(table))
    return dict(zip(table, losses_per_error(probes).tolist(), strict=True))


def divergences_alone(
    network: LanguageModel,
    chosen: Mapping[str, Candidate],
    windows: npt.NDArray[np.int64],
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, float]:
    """Divergence of the predictions, bits a token, when each projection alone is reduced."""
    probing = _spread(windows, LEAST_TOKENS)
    before = list(log_probabilities(network, probing))
    found = {}
    for name, one in chosen.items():
        after = log_probabilities(adopt(network, {name: one}), probing)
        found[name] = float(np.mean(list(map(divergence, before, after))))
        progress("divergence", len(found), len(chosen))
    return found


def _spread(windows: npt.NDArray[np.int64], tokens: int) -> npt.NDArray[np.int64]:
    """So many of the windows, evenly spread, as hold ``tokens`` tokens; at least one."""
    count = min(len(windows), max(1, tokens // windows.shape[1]))
    return windows[np.linspace(0, len(windows) - 1, count).astype(int)]


def fewest_bits(
    network: LanguageModel, windows: npt.NDArray[np.int64], moments: Moments, max_loss: float,
    progress: Progress = lambda what, step, steps: None,
) -> dict[str, Choice]:  # fmt: skip
    """Bits of every projection: the fewest bytes that lose at most ``max_loss`` bits a token.

    Losses of single projections are taken to add up; the whole is scored on the text, and chosen
    anew until it loses about as much as is allowed.
    """
    widths = [Choice(bits) for bits in range(FEWEST_BITS, MOST_BITS + 1)]
    table = candidates(network, moments, widths, progress=progress)
    known = sensitivities(network, windows, table, adopt, progress=progress)
    losses = [[known[name] * o.error for o in options] for name, options in table.items()]
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
