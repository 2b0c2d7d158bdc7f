"""Rounding weights to few bits: nearest, or such that a layer's outputs change least.

With the operands ``x`` of a text, a row's rounding ``w ~ s q`` (integers ``q`` of b bits, one scale
``s`` a row) changes the row's output by ``(w - s q) x``, on average of squares

``E = (w - s q)^T H (w - s q)``,  ``H = mean of x x^T`` [inputs, inputs].

Plain rounding takes each weight's nearest integer. Here rounding errors of one weight are
compensated by the weights not rounded yet (optimal brain compression, Frantar and Alistarh 2022,
arXiv:2208.11580; in the order and with the Cholesky factor of GPTQ, Frantar et al. 2022,
arXiv:2210.17323), then ``s`` is set to its optimum ``q^T H w / q^T H q`` and single integers are
changed while that lowers ``E`` (coordinate descent), which never raises it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.packed import largest_weight
from spikegpt_neuro.converters.one_thread import in_one_thread

FloatArray = npt.NDArray[np.floating]

DAMPING = 0.01
"""Share of the mean diagonal added to ``H``: texts are short, operands may never have fired."""
CLIPPINGS = tuple(np.linspace(1.0, 0.35, 14).tolist())
"""Scales tried, as shares of the one at which no weight of a row is clipped."""
SWEEPS = 4
"""Rounds of coordinate descent; each changes fewer integers."""
TOGETHER = 128
"""Inputs rounded before their errors are spread to all inputs after them."""
SHARING = 16
"""Rows that share what is read of the moments."""
ROWS = 2048
"""Rows rounded at a time, which bounds the memory a vocabulary's matrix takes."""


@dataclass(frozen=True)
class Rounded:
    """Integers int8 [outputs, inputs], scale float64 [outputs], and what they change.

    ``error``: share of each row's output power that rounding changes, ``E / w^T H w``; of the plain
    sum of squares where no Hessian was given.
    """

    integers: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prepared:
    """``H``, damped, with its inputs in the ``order`` in which they are rounded: largest first.

    ``factor``: upper U of ``H^-1 = U^T U``, by which an error spreads to the inputs after it.
    ``inverse_diagonal``: of ``H^-1``, in the inputs' own order. float32 but for that.
    """

    order: npt.NDArray[np.int64]
    moment: npt.NDArray[np.float32]
    factor: npt.NDArray[np.float32]
    inverse_diagonal: npt.NDArray[np.float64]


@in_one_thread
def prepare(second_moment: FloatArray) -> Prepared:
    """From ``H`` [inputs, inputs], of any rank: ``DAMPING`` of its mean diagonal is added."""
    damped = second_moment.astype(np.float64)
    diagonal = np.einsum("ii->i", damped)
    diagonal += DAMPING * max(float(diagonal.mean()), 1e-12)
    order = np.argsort(-diagonal, kind="stable")
    ordered = damped[np.ix_(order, order)]
    inverse = np.linalg.inv(ordered)
    lower = np.linalg.cholesky((inverse + inverse.T) / 2)
    inverse_diagonal = np.empty(len(order))
    inverse_diagonal[order] = np.diagonal(inverse)
    return Prepared(
        order,
        np.ascontiguousarray(ordered, np.float32),
        np.ascontiguousarray(lower.T, np.float32),
        inverse_diagonal,
    )


def clipped_scales(
    weight: FloatArray, importance: FloatArray, bits: int
) -> npt.NDArray[np.float64]:
    """The scale of each row, of those in ``CLIPPINGS``, whose nearest integers err least.

    ``importance`` [inputs] weighs the squares: the diagonal of ``H``.
    """
    limit = largest_weight(bits)
    peak = np.abs(weight).max(axis=1).astype(np.float64)
    peak[peak == 0] = 1.0
    best = np.full(len(weight), np.inf)
    scale = peak / limit
    for share in CLIPPINGS:
        step = peak * (share / limit)
        rounded = np.clip(np.rint(weight / step[:, None]), -limit, limit)
        error = ((weight - rounded * step[:, None]) ** 2) @ importance
        better = error < best
        best[better], scale[better] = error[better], step[better]
    return scale


@kernel
def _compensate_block(
    weight: np.ndarray, factor: np.ndarray, scale: np.ndarray, kept: np.ndarray, limit: int,
    integers: np.ndarray, errors: np.ndarray,
) -> None:  # fmt: skip
    """GPTQ within a block of inputs: ``weight`` [rows, block] is used up.

    ``kept`` False: the weight must become 0 (pruned), its error compensated like a rounding's.
    ``errors`` [rows, block] receives what the inputs after the block must compensate.
    """
    rows, inputs = weight.shape
    for j in range(rows):
        row, step = weight[j], scale[j]
        for k in range(inputs):
            q = np.rint(row[k] / step)
            q = min(max(q, -limit), limit)
            if not kept[j, k]:
                q = 0.0
            integers[j, k] = np.int8(q)
            error = np.float32((row[k] - q * step) / factor[k, k])
            errors[j, k] = error
            for i in range(k, inputs):
                row[i] -= error * factor[k, i]


def _compensate(
    weight: npt.NDArray[np.float32], factor: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float64], kept: npt.NDArray[np.bool_], limit: int,
) -> npt.NDArray[np.int8]:  # fmt: skip
    """GPTQ: integers of ``weight`` [rows, inputs], which is used up."""
    integers = np.empty(weight.shape, np.int8)
    for begin in range(0, weight.shape[1], TOGETHER):
        span = slice(begin, begin + TOGETHER)
        block = np.ascontiguousarray(weight[:, span])
        found, errors = np.empty(block.shape, np.int8), np.empty_like(block)
        triangle = np.ascontiguousarray(factor[span, span])
        allowed = np.ascontiguousarray(kept[:, span])
        _compensate_block(block, triangle, scale, allowed, limit, found, errors)
        integers[:, span] = found
        weight[:, span.stop :] -= errors @ factor[span, span.stop :]
    return integers


@kernel
def _descend(
    gradient: np.ndarray, moment: np.ndarray, scale: np.ndarray, kept: np.ndarray, limit: int,
    integers: np.ndarray,
) -> None:  # fmt: skip
    """Change single integers while that lowers E. ``gradient`` [rows, inputs] is H (w - s q)."""
    rows, inputs = gradient.shape
    for begin in range(0, rows, SHARING):
        for _ in range(SWEEPS):
            changed = False
            for k in range(inputs):
                spread = moment[k]
                for j in range(begin, min(begin + SHARING, rows)):
                    if not kept[j, k]:
                        continue
                    now, step, slope = integers[j, k], scale[j], gradient[j]
                    q = np.rint(now + slope[k] / (step * spread[k]))
                    q = min(max(q, -limit), limit)
                    if q != now:
                        change = np.float32(step * (q - now))
                        for i in range(inputs):
                            slope[i] -= change * spread[i]
                        integers[j, k] = np.int8(q)
                        changed = True
            if not changed:
                break


def kept_weights(
    weight: FloatArray, prepared: Prepared, pruned: float, pattern: tuple[int, int] | None = None
) -> npt.NDArray[np.bool_]:
    """Which weights stay, bool [outputs, inputs]: those whose loss would change the outputs most.

    Saliency is optimal brain surgeon's, ``w_k^2 / (H^-1)_kk`` (Hassibi and Stork 1993). ``pruned``:
    share that goes, over the whole layer; or ``pattern`` (n, m): n of every m in a row stay.
    """
    saliency = weight.astype(np.float64) ** 2 / prepared.inverse_diagonal
    if pattern is None:
        count = round(pruned * saliency.size)
        kept = np.ones(saliency.size, np.bool_)
        kept[np.argpartition(saliency, count, axis=None)[:count]] = False
        return kept.reshape(saliency.shape)
    n, m = pattern
    outputs, inputs = saliency.shape
    padded = np.full((outputs, -(-inputs // m) * m), -1.0)
    padded[:, :inputs] = saliency
    groups = padded.reshape(outputs, -1, m)
    rank = np.argsort(np.argsort(-groups, axis=2, kind="stable"), axis=2, kind="stable")
    return (rank < n).reshape(outputs, -1)[:, :inputs]


@in_one_thread
def nearest(weight: FloatArray, bits: int, importance: FloatArray | None = None) -> Rounded:
    """Plain rounding at the best clipping; ``importance`` [inputs] weighs the inputs."""
    limit = largest_weight(bits)
    weighing = np.ones(weight.shape[1]) if importance is None else importance
    scale = clipped_scales(weight, weighing, bits)
    integers = np.clip(np.rint(weight / scale[:, None]), -limit, limit).astype(np.int8)
    difference = weight - integers * scale[:, None]
    power = np.maximum((weight**2) @ weighing, 1e-300)
    return Rounded(integers, scale, (difference**2) @ weighing / power)


@in_one_thread
def compensated(
    weight: FloatArray, prepared: Prepared, bits: int, kept: npt.NDArray[np.bool_] | None = None
) -> Rounded:
    """Rounding that changes the outputs least under H (module docstring).

    ``weight`` [outputs, inputs]; ``kept`` bool of the same shape, False where 0 is demanded.
    """
    outputs, inputs = weight.shape
    order, moment = prepared.order, prepared.moment
    integers = np.empty((outputs, inputs), np.int8)
    scale = np.empty(outputs)
    error = np.empty(outputs)
    limit = largest_weight(bits)
    for begin in range(0, outputs, ROWS):
        span = slice(begin, min(begin + ROWS, outputs))
        rows = np.ascontiguousarray(weight[span][:, order], np.float32)
        allowed = np.ones(rows.shape, np.bool_) if kept is None else kept[span][:, order]
        step = clipped_scales(rows, np.diagonal(moment), bits)
        q = _compensate(rows.copy(), prepared.factor, step, allowed, limit)
        target = rows @ moment
        for _ in range(2):
            step = _optimal_scale(rows, target, q, moment, step)
            gradient = target - (q.astype(np.float32) @ moment) * step[:, None].astype(np.float32)
            _descend(gradient, moment, step, allowed, limit, q)
        step = _optimal_scale(rows, target, q, moment, step)
        difference = (rows - q * step[:, None]).astype(np.float32)
        spread = np.einsum("jk,jk->j", difference @ moment, difference)
        error[span] = spread / np.maximum(np.einsum("jk,jk->j", target, rows), 1e-30)
        scale[span] = step
        integers[span][:, order] = q
    return Rounded(integers, scale, error)


def _optimal_scale(
    rows: FloatArray, target: FloatArray, integers: npt.NDArray[np.int8], moment: FloatArray,
    before: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """``q^T H w / q^T H q``; the scale ``before`` where that is not positive."""
    q = integers.astype(np.float32)
    above = np.einsum("jk,jk->j", q, target, dtype=np.float64)
    below = np.einsum("jk,jk->j", q @ moment, q, dtype=np.float64)
    fit = (above > 0) & (below > 0)
    return np.where(fit, above / np.where(fit, below, 1.0), before)
