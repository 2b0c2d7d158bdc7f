"""The Lava backend: the network as a graph of Lava processes on lava-nc's CPU runtime.

``runtime``    what every graph needs: importing lava-nc and lava-dl on every supported Python,
               a run that never hangs and leaves no process behind, commands, stock processes
``fused``      one Lava process a stage (embedding, SRWKV, SRFFN, head)
``fine``       stages of simple processes, as a chip gets them
``chains``     stock NetX chains: a process a stage, or stock processes; and lava-dl's own reading
               of a stock NetX file, to compare with
``backend``    the backends of these names
``processes``  Process classes and process models, one folder a family (Lava executes every
               module of a Process's folder when it looks for process models)
"""
