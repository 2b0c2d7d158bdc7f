"""Faults at random moments of the commands (``python -m attacks faults``).

Each trial starts a command of the command line in a folder of its own, lets one fault happen, and
then asks: are the files the old ones or the whole new ones, did anything stay behind (temporary
files, processes, shared memory), is what was said sane, and does the same work, done again or gone
on with, end in the bytes it ends in when nobody disturbs it.
"""
