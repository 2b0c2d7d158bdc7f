"""A kind of layer added from outside, in three files: docs/adding-a-kind.md followed once."""
