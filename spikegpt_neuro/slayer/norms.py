"""Norms of SLAYER's neurons at export: a subtracted mean is a bias, every other is refused by name.

SLAYER's ``export_hdf5`` writes ``norm.bias`` and no more, whatever the norm is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl
from spikegpt_neuro.errors import InputError

_norm = import_lava_dl("lava.lib.dl.slayer.neuron.norm")
_Cuba: Any = import_lava_dl("lava.lib.dl.slayer.neuron.cuba").Neuron


def check_norms(blocks: Sequence[Any], own: type) -> None:
    """Check that the norms of all neurons are in the file that the blocks' export will write.

    ``own``: blocks of this type hold none. Raises ``InputError`` listing the norms that would be
    left out; warns where a norm becomes a bias, which stock timing starts too early.
    """
    if problems := list(_problems(blocks, own)):
        raise InputError(
            "this chain would be exported as another function:",
            problems,
            "Train with slayer.neuron.norm.MeanOnlyBatchNorm, which is exported as a bias, or "
            "without a norm.",
        )
    biased = [str(i) for i, block in enumerate(blocks) if any(_norms(block))]
    if biased:
        warnings.warn(
            f"the norm of block {', '.join(biased)} is exported as a bias of its neurons. Stock "
            "NetX starts biased neurons before their first input arrives; import with "
            "--slayer-timing for torch's spikes.",
            stacklevel=3,
        )


def _norms(block: Any) -> Iterator[tuple[str, Any]]:
    """The norms of a block's neurons, each with the name of its neurons."""
    for name, neuron in getattr(block, "named_children", tuple)():
        norms = (getattr(neuron, key, None) for key in ("norm", "real_norm", "imag_norm"))
        yield from ((name, norm) for norm in norms if norm is not None)


def _problems(blocks: Sequence[Any], own: type) -> Iterator[str]:
    """A sentence for each norm that the file would not hold.

    ``MeanOnlyBatchNorm`` is ``u - mean`` in evaluation: a bias of the voltage that integrates the
    current ``u``. ``WgtScaleBatchNorm`` also divides by a power of two; nothing is lost where that
    is 1. CUBA neurons of a recurrent block keep the normed current as their state.
    """
    for index, block in enumerate(blocks):
        for name, norm in _norms(block):
            where = f"block {index}, {type(block).__name__}: {type(norm).__name__} of `{name}`"
            if isinstance(block, own) or not hasattr(norm, "running_mean"):
                yield f"{where} has no place in the file"
            elif isinstance(norm, _norm.WgtScaleBatchNorm):
                if bool((norm.std(norm.running_var) != 1).any()):
                    yield f"{where} divides by a power of two, which no file holds"
            elif not isinstance(norm, _norm.MeanOnlyBatchNorm):
                yield f"{where} is not the subtraction that SLAYER exports it as"
            elif isinstance(getattr(block, "neuron", None), _Cuba) and hasattr(
                block, "recurrent_synapse"
            ):
                yield (
                    f"{where} changes the current that the neurons carry on; the file's bias is of "
                    "their voltage"
                )
