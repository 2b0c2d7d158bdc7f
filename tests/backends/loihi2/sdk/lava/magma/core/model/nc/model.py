"""Neuro-core process models."""

from __future__ import annotations

from lava.magma.core.model.model import AbstractProcessModel


class AbstractNcProcessModel(AbstractProcessModel):
    """``executes_as`` (only here, not in the real SDK): the CPU model standing in for the chip."""

    executes_as: type = AbstractProcessModel

    def run(self) -> None:
        raise NotImplementedError

    def add_ports_for_polling(self) -> None:
        raise NotImplementedError
