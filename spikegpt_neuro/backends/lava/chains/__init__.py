"""Stock NetX chains."""
