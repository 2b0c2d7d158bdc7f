"""Process models of the processors embedded in the chip."""

from __future__ import annotations

from lava.magma.core.model.model import AbstractProcessModel


class AbstractCProcessModel(AbstractProcessModel):
    executes_as: type = AbstractProcessModel

    def run(self) -> None:
        raise NotImplementedError

    def add_ports_for_polling(self) -> None:
        raise NotImplementedError


class CLoihiProcessModel(AbstractCProcessModel):
    pass
