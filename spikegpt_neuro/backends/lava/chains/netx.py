"""Stock ``netx.hdf5.Network`` of lava-dl as something to compare with: it runs the stock file."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spikegpt_neuro.backends.base import Availability, BackendDefaults
from spikegpt_neuro.backends.lava.runtime.compatibility import (
    INSTALL_ADVICE,
    import_lava_dl,
    prepare_lava,
)
from spikegpt_neuro.errors import InputError, RunFailed
from spikegpt_neuro.network import Chain, Network

NAME = "netx"


class NetxBackend(BackendDefaults):
    """Runs the stock file a chain was read from, through lava-dl, on lava-nc's CPU runtime."""

    name = NAME

    def __init__(self, stock: Path) -> None:
        self._stock = stock

    def available(self) -> Availability:
        """Looks for lava-dl without importing it."""
        probed = ("lava-nc", "lava-dl")
        try:
            found = importlib.util.find_spec("lava.lib.dl") is not None
        except ModuleNotFoundError:
            found = False
        return Availability(found, probed, () if found else ("lava-dl",), INSTALL_ADVICE)

    def traceable(self, network: Network) -> tuple[str, ...]:
        """See ``Backend.traceable``."""
        prepare_lava()
        from spikegpt_neuro.decomposition.stock_plan import visible_layers

        return visible_layers(network)

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> Any:
        """See ``Backend.open_chain``. Raises ``InputError`` for what stock NetX cannot build."""
        network.check_contents()
        prepare_lava()
        from spikegpt_neuro.backends.lava.chains.session import StockChainSession

        return StockChainSession(network, trace=trace, build=self._build)

    def _build(self, network: Network, source: Any) -> dict[str, Any]:
        """Stock NetX's processes, connected to ``source``; the ports of the layers they are."""
        from spikegpt_neuro.backends.lava.chains.stock_chain import connect
        from spikegpt_neuro.decomposition.stock_plan import plan_stock

        plan = plan_stock(network)
        problems = plan.problems + [
            f"{name}: stock NetX has no neuron of type ALIF; it stops with an AttributeError"
            for name, layer in plan.neurons.items()
            if layer.kind in ("alif", "recurrent_alif")
        ]
        if problems:
            raise InputError("stock NetX does not run this chain:", problems)
        settings = network.info.quantisation
        hdf5 = import_lava_dl("lava.lib.dl.netx.hdf5")
        try:
            stock = hdf5.Network(
                net_config=str(self._stock),
                num_layers=settings["stock_layers"],
                input_message_bits=settings["input_message_bits"],
                spike_exp=settings["spike_bits"],
                input_shape=tuple(settings["input_shape"]) if "input_shape" in settings else None,
            )
        except Exception as error:  # stock code: whatever it raises is its answer
            raise RunFailed(f"stock NetX cannot build {self._stock}: {error!r}") from error
        first = stock.in_layer
        connect(source, first.neuron.a_in if hasattr(first, "transform") else stock.inp)
        ports = {}
        results = [synapse.result for synapse in plan.synapses.values()]
        for name, block in zip(plan.neurons, stock.layers, strict=True):
            ports[name] = block.neuron.s_out
        behind = [block for block in stock.layers if hasattr(block, "synapse")]
        for name, block in zip(results, behind, strict=True):
            ports[name] = block.synapse.a_out
        return ports


def stock_file(network: Network, path: Path) -> Path:
    """The stock file that the chain in ``path`` was read from: itself, or one beside it.

    It must be the very file, by its SHA-256. Raises ``InputError`` where it is not found.
    """
    source = network.info.source
    if not isinstance(network, Chain) or source.get("format") != "netx":
        raise InputError(
            f"{path} was not read from a stock NetX file, so stock netx has nothing to run."
        )
    for candidate in (path, path.parent / str(source["file"])):
        if not candidate.is_file():
            continue
        if hashlib.sha256(candidate.read_bytes()).hexdigest() == source["sha256"]:
            return candidate
    raise InputError(
        f"{path} was imported from {source['file']}, which is not beside it (or was changed).",
        advice="Put the stock file into the same folder, or verify the stock file itself.",
    )
