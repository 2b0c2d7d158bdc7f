from lava.magma.compiler.builders.interfaces import AbstractProcessBuilder


class CProcessBuilder(AbstractProcessBuilder):
    pass
