"""What a caller asks of a graph in each time step. Imports nothing of Lava."""

HEADER = 2
"""Words of a command: what to do, and the token."""
ADVANCE, RESET, IDLE, OPEN, CLOSE = 0, 1, 2, 3, 4
"""Commands of a time step: a token enters; states return to their start; nothing enters. Of a graph
that chooses its tokens itself: a token enters, from whose winner on winners are fed back; nothing
enters, and the winner of a token of this step would not be fed back any more."""
BUFFERED_MESSAGES = 32
"""Messages that the pipe between a graph and its caller holds."""
