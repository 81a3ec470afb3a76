"""Nodules: found, listed, placed and measured."""
