"""SpikeGPT in real numbers: torch modules for training, calibration, comparison."""
