"""Runs tracked in MLflow, through a journal that survives an absent server."""
