"""The command line: one module a command; heavy packages are imported when a command runs."""
