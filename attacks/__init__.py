"""Attacks on every reader: damaged and hostile files (``python -m attacks``)."""
