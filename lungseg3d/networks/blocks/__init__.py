"""Blocks that several networks are built of."""
