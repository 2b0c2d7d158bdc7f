"""The backend ``loihi2``: a network on a board, through Intel's lava-loihi."""

from __future__ import annotations

from collections.abc import Iterable

from spikegpt_neuro.backends.base import Availability, BackendDefaults, RasterSession, TokenSession
from spikegpt_neuro.backends.loihi2.probing import ADVICE, Host, find_host, probe
from spikegpt_neuro.errors import InputError, Unavailable
from spikegpt_neuro.network import Chain, LanguageModel, Network
from spikegpt_neuro.network.selection import SelectingModel


class Loihi2Backend(BackendDefaults):
    """Loihi 2 through lava-loihi."""

    name = "loihi2"

    def __init__(self, *, reset_interval: int | None = None, profiled: bool = False) -> None:
        """``reset_interval``: time steps after which a chain's neurons are reset on the chip.
        ``profiled``: sessions are one run, which lava-loihi's profilers measure."""
        self._reset_interval = reset_interval
        self._profiled = profiled

    def measuring(self) -> Loihi2Backend:
        """The backend with profilers: a session takes one run and then has its measurement."""
        return Loihi2Backend(reset_interval=self._reset_interval, profiled=True)

    def resetting(self, interval: int | None) -> Loihi2Backend:
        """The backend with neurons reset on the chip every so many time steps, within one run."""
        return Loihi2Backend(reset_interval=interval, profiled=self._profiled)

    def available(self) -> Availability:
        """Looks for the SDK, a way to a host, a board and the chip generation; never raises."""
        return probe()

    @staticmethod
    def _host() -> Host:
        """The host to use; ``Unavailable`` says what was probed and what to do, exit code 3."""
        # the import is tried where it happens: in the session's own process
        availability = probe(importing=False)
        host = find_host()
        if not availability.ok or host is None:
            missing = ", ".join(availability.missing)
            raise Unavailable(
                f"the loihi2 backend cannot run here; missing: {missing}.",
                availability.probed,
                availability.advice or ADVICE,
            )
        return host

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> RasterSession:
        """See ``Backend.open_chain``; raises what ``open_model`` does."""
        network.check_contents()
        from spikegpt_neuro.backends.loihi2.sessions import BoardChainSession

        return BoardChainSession(
            network, self._host(), trace=trace, reset_interval=self._reset_interval,
            profiled=self._profiled,
        )  # fmt: skip

    def open_model(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> TokenSession:
        """See ``Backend.open_model``.

        Raises ``Unavailable`` where SDK, host, board or neuron programs are missing; where programs
        are, before anything is sent to a board. ``InputError`` for a network that chooses its
        tokens itself.
        """
        network.check_contents()
        if isinstance(network, SelectingModel):
            raise InputError(
                "the loihi2 backend closes no loop: it sends the embedding's rows from the host.",
                advice="lava-fine runs the closed graph on Lava's CPU models.",
            )
        from spikegpt_neuro.backends.loihi2.sessions import BoardTokenSession

        return BoardTokenSession(network, self._host(), trace=trace, profiled=self._profiled)

    def traceable(self, network: Network) -> tuple[str, ...]:
        """Layers whose integers leave the board: the last."""
        return (network.layers[-1].name,)
