"""A stage of the network (an SRWKV, an SRFFN, ...) as a hierarchical Lava process."""
