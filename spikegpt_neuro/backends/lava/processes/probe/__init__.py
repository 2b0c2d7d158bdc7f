"""The measuring instrument of a stage; not part of the graph a chip gets."""
