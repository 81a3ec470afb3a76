"""Cuts from a settings file, and maps of findings."""
