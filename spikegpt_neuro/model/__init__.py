"""SpikeGPT in real numbers: torch modules that train, calibrate and stand beside the integer network."""
