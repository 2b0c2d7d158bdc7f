"""The backend ``lava``: lava-nc's CPU runtime as the reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from spikegpt_neuro.backends.base import Availability, BackendDefaults, RasterSession, TokenSession
from spikegpt_neuro.backends.lava.runtime.compatibility import INSTALL_ADVICE, prepare_lava
from spikegpt_neuro.network import Chain, LanguageModel, Network
from spikegpt_neuro.network.selection import SelectingModel


class LavaBackend(BackendDefaults):
    """Lava process graph on the CPU, fused granularity."""

    name = "lava"

    def available(self) -> Availability:
        """Looks for lava-nc without importing it."""
        try:
            details = {"lava-nc": version("lava-nc")}
        except PackageNotFoundError:
            details = {}
        if importlib.util.find_spec("lava") is None:
            return Availability(False, ("lava-nc",), ("lava-nc",), INSTALL_ADVICE, details)
        return Availability(True, ("lava-nc",), details=details)

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> RasterSession:
        """See ``Backend.open_chain``."""
        network.check_contents()
        prepare_lava()
        from spikegpt_neuro.backends.lava.chains.session import FusedChainSession

        return FusedChainSession(network, trace=trace)

    def open_model(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> TokenSession:
        """See ``Backend.open_model``."""
        network.check_contents()
        prepare_lava()
        from spikegpt_neuro.backends.lava.fused.session import FusedSession

        return FusedSession(network, trace=trace)


class LavaFineBackend(LavaBackend):
    """Lava process graph on the CPU, fine granularity: the graph a chip gets."""

    name = "lava-fine"

    def traceable(self, network: Network) -> tuple[str, ...]:
        """See ``Backend.traceable``: of a chain, the outputs of its stock processes."""
        if not isinstance(network, Chain):
            return tuple(network.by_name)
        prepare_lava()
        from spikegpt_neuro.decomposition.stock_plan import visible_layers

        return visible_layers(network)

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> RasterSession:
        """See ``Backend.open_chain``."""
        network.check_contents()
        prepare_lava()
        from spikegpt_neuro.backends.lava.chains.session import StockChainSession

        return StockChainSession(network, trace=trace)

    def open_model(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> TokenSession:
        """See ``Backend.open_model``."""
        network.check_contents()
        prepare_lava()
        from spikegpt_neuro.backends.lava.fine.session import FineSession, LoopSession

        session = LoopSession if isinstance(network, SelectingModel) else FineSession
        return session(network, trace=trace)
