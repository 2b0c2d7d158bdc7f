"""The own neurons of the fine graph: each a population of one program."""
