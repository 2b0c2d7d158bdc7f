"""A whole stage of the network (an SRWKV, an SRFFN, ...) as one Lava process."""
