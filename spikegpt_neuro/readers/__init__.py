"""Doors through which bytes from outside come in: ordinary files, and HDF5 that others wrote.

Each format's own reader stands with its format; what they share is here: ``guard`` (a file that can
be read, foreign parsers whose every exception becomes an ``InputError``) and ``hdf5`` (a foreign
HDF5 file as plain arrays, parsed in a supervised process). See docs/reading-files.md.
"""
