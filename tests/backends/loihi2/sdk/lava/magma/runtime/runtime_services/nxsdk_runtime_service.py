"""The runtime service of processes on a board: connects, steps it, and calls the callbacks."""

from __future__ import annotations

from lava.magma.runtime.mgmt_token_enums import enum_equal
from lava.magma.runtime.runtime_services.enums import LoihiPhase
from lava.magma.runtime.runtime_services.runtime_service import LoihiPyRuntimeService
from nxcore.arch.base.nxboard import NxBoard


class NxSdkRuntimeService(LoihiPyRuntimeService):
    def __init__(
        self, protocol, *, loihi_version, loglevel, compile_config, callback_fxs, c_builders,
        nc_builders, embedded_allocation_order,
    ):  # fmt: skip
        super().__init__(protocol, loglevel=loglevel)
        self._callbacks = callback_fxs
        self._board = NxBoard()
        self._running = False

    def run(self):
        try:
            self._board.connect()
            super().run()
        finally:
            self._board.disconnect()

    def _send_pm_cmd(self, phase):
        if enum_equal(phase, LoihiPhase.SPK):
            if not self._running:
                self._running = True
                for callback in self._callbacks:
                    callback.pre_run_callback(self._board, {})
            self._board.step()
        elif enum_equal(phase, LoihiPhase.HOST) and self._running:
            self._running = False
            for callback in self._callbacks:
                callback.post_run_callback(self._board, {})
        super()._send_pm_cmd(phase)
