"""The compiler of neuro-core processes. Here it puts their CPU stand-ins on the chip's side.

The stand-ins are neuro-core models too (so lava-nc's compiler places them on an OheoGulch node) and
follow a protocol of their own (so they make a synchronisation domain of their own, whose runtime
service is ``NxSdkRuntimeService``), as processes on a real board do.
"""

from __future__ import annotations

from lava.magma.compiler.builders.runtimeservice_builder import RuntimeServiceBuilder
from lava.magma.compiler.subcompilers.py.pyproc_compiler import PyProcCompiler
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import LMT, Loihi1NeuroCore, Loihi2NeuroCore, NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.magma.runtime.runtime_services.nxsdk_runtime_service import NxSdkRuntimeService


class CompilerOptions:
    verbose = False


class BoardProtocol(LoihiProtocol):
    @property
    def runtime_service(self):
        return dict.fromkeys(
            (LMT, NeuroCore, Loihi1NeuroCore, Loihi2NeuroCore), NxSdkRuntimeService
        )


_on_chip: dict[type, type] = {}


def on_chip(model: type) -> type:
    """``model``'s stand-in on the chip."""
    stand_in = model.executes_as
    if model not in _on_chip:
        _on_chip[model] = type(
            f"{model.__name__}Executing", (stand_in, AbstractNcProcessModel),
            {"implements_protocol": BoardProtocol, "required_resources": [Loihi2NeuroCore],
             "run": stand_in.run, "add_ports_for_polling": stand_in.add_ports_for_polling},
        )  # fmt: skip
    return _on_chip[model]


class NcProcCompiler(PyProcCompiler):
    def compile(self, channel_map, partitioning=None):
        for process in self._proc_group:
            if hasattr(process.model_class, "executes_as"):
                process._model_class = on_chip(process.model_class)
        return super().compile(channel_map, partitioning)


_build = RuntimeServiceBuilder.build


def _build_with_processes(self):
    """A real service reaches its processes through the board; here it has channels to them."""
    service = _build(self)
    if isinstance(service, NxSdkRuntimeService):
        ports = (*self.csp_proc_send_port.values(), *self.csp_proc_recv_port.values())
        service.service_to_process = [p for p in ports if "service_to_process" in p.name]
        service.process_to_service = [p for p in ports if "process_to_service" in p.name]
    return service


RuntimeServiceBuilder.build = _build_with_processes
