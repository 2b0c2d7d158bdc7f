"""Getting int32 vectors into and out of a running graph."""
