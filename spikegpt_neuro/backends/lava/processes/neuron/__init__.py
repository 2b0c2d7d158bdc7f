"""One layer of neurons as one Lava process."""
