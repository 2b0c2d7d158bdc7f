"""What a caller asks of a graph in each time step. Imports nothing of Lava."""

HEADER = 2
"""Words of a command: what to do, and the token."""
ADVANCE, RESET, IDLE = 0, 1, 2
"""Commands of a time step: a token enters; states return to their start; nothing enters."""
BUFFERED_MESSAGES = 32
"""Messages that the pipe between a graph and its caller holds."""
