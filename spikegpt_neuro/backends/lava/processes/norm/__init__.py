"""A layer norm as own neurons and the stock synapses that add up and spread its sums."""
