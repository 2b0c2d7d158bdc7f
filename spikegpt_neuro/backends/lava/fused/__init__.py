"""Graphs of one process a stage."""
