"""Scoring many documents, in this process or on Dask workers, with the same result.

``documents``  which documents there are, and how they are grouped into shards
``shard``      scoring one shard: what a worker does, and the result it leaves
``run``        scoring all shards: here or on workers, finished ones kept
"""
