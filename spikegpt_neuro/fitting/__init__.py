"""Fitting a network to a chip: the least loss under a budget of cores, chips or joules.

``search``  what projections and populations may become, and the choice under a budget
``points``  budgets, choices, points of the front, fits
``prices``  what each way is foreseen to save in joules
``store``   what a search computed, so that one broken off goes on
``front``   the table and the plot of what can be had
"""
