"""Training SpikeGPT: data, schedule, loop, checkpoints."""
