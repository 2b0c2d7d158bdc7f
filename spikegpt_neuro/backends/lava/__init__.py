"""The Lava backend: the network as a graph of Lava processes on lava-nc's CPU runtime.

``compatibility``  importing lava-nc and lava-dl on every supported Python
``supervision``    a run that never hangs and leaves no process behind
``fused``          one Lava process a stage (embedding, SRWKV, SRFFN, head)
``backend``        the backend of that name
``processes``      Process classes and process models, one folder a family (Lava executes every
                   module of a Process's folder when it looks for process models)
"""
