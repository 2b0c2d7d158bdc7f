"""Benchmarks: ours against its peers and against what memory allows. See docs/performance.md.

    python -m benchmarks                   everything, some 20 minutes
    python -m benchmarks --study sizes     one study: sizes, projection, blocks, firing, depth,
                                           context, resources, export, lava
    python -m benchmarks --quick           small classes and few rounds: does it run?

Everything runs in one thread and is timed in processor seconds, except Lava, start-up and export,
which are more than a thread. Contenders take turns within each round and figures are medians over
rounds, because the memory bandwidth of a shared machine drifts by a factor of two within minutes;
a probe of that bandwidth in the same round stands beside each figure.
"""
