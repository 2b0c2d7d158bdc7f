from lava.magma.compiler.subcompilers.nc.ncproc_compiler import NcProcCompiler


class CProcCompiler(NcProcCompiler):
    pass
