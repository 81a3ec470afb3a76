"""Random changes to patches in training."""
