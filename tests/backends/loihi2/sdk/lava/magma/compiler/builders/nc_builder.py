from lava.magma.compiler.builders.interfaces import AbstractProcessBuilder


class NcProcessBuilder(AbstractProcessBuilder):
    pass
