"""Every integer operation of the network, defined once.

Each function is plain Python in the subset numba compiles; the emulator, the fused Lava process
models and the fine Lava neurons all call these same functions, so two backends cannot differ in
arithmetic. Integers are two's complement; intermediates are 64 bit; ``>>`` is the arithmetic shift.

``compiler``     how the functions are compiled (one place for compiler switches)
``formats``      widths and limits of the integer formats, read without a compiler
``equations``    the same operations as text, one update of one channel, and what it costs
``tables``       sigmoid, exp2, reciprocal and reciprocal-square-root tables
``fixed_point``  rounding shift, saturation, exp2, reciprocal, reciprocal square root
``dense``        synapses: dense and event-driven products, and their event counts
``packed``       synapses of fewer than eight bits a weight, packed in memory
``elementwise``  embedding, layer norm, token shift, sigmoid, squared ReLU, product, residual
``wkv``          the SRWKV recurrence with a shared exponent
``lif``          leaky integrate-and-fire, binary or graded
"""
