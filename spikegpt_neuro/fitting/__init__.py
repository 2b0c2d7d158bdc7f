"""Fitting a network to a chip: the least loss under a budget of cores, chips or joules.

``search``  what each projection may become, and the choice under a budget
``store``   what a search computed, so that one broken off goes on
``front``   the table and the plot of what can be had
"""
