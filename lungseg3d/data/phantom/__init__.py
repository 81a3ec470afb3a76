"""Synthetic chests with known nodules."""
