"""The Loihi 2 backend: a plug-in that needs Intel's lava-loihi package and a board."""
