"""Networks of lava-dl blocks, trained with SLAYER."""
