"""Graphs of simple processes, as a chip gets them."""
