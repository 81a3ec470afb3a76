"""Patches drawn for training, and where they come from."""
