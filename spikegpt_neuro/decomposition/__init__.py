"""Networks in terms of simple elements, neuron programs and stock processes, without Lava."""
