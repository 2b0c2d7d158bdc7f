"""The sub-process model of a stage: stock synapses, and one process a layer of neurons."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.process import Dense as StockDense

from spikegpt_neuro.backends.lava.processes.neuron.process import Neurons
from spikegpt_neuro.backends.lava.processes.part.process import Part
from spikegpt_neuro.network import TOKEN
from spikegpt_neuro.network.layers import Dense

MESSAGE_BITS = 24
"""Graded spikes' width told to the stock process; any positive number makes it take integers."""


@implements(proc=Part, protocol=LoihiProtocol)
@tag("fixed_pt")
class PartOfProcesses(AbstractSubProcessModel):
    """Dense layers are stock ``Dense`` processes, all others ``Neurons``."""

    def __init__(self, proc: AbstractProcess) -> None:
        parameters = proc.proc_params
        stream, plans = parameters["stream"], parameters["plans"]
        ports = {}
        for i, layer in enumerate(parameters["layers"]):
            sources = [source for source in layer.inputs if source != TOKEN]
            if isinstance(layer, Dense):
                # Lava truncates mixed-sign weights to even numbers: twice the weight, half the sum
                made = StockDense(
                    weights=2 * layer.weight.astype(np.int64), weight_exp=-1,
                    num_message_bits=MESSAGE_BITS,
                )  # fmt: skip
                inputs, ports[layer.name] = [made.s_in], made.a_out
            else:
                sizes = tuple(
                    layer.output.size if s not in ports else ports[s].shape[0] for s in sources
                )
                plan = plans[layer.name]
                reports = tuple(name for name in plan.names if name in parameters["wanted"])
                made = Neurons(plan, sizes, reports, parameters["buffer_size"])
                proc.in_ports.c_in.connect(made.c_in)
                inputs, ports[layer.name] = [made.a_in, made.b_in], made.s_out
                parameters["built"](made)
            for source, port in zip(sources, inputs, strict=False):
                if source in ports:
                    ports[source].connect(port)
                elif stream is not None and source == stream[0]:
                    proc.in_ports.a_in.connect(port)
            setattr(self, f"process_{i}", made)
        ports[parameters["layers"][-1].name].connect(proc.out_ports.s_out)
