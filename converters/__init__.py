"""From checkpoints to the integer network: reading, calibration, quantisation, export."""
