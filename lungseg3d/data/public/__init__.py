"""Public data sets: where they lie, and how their labels are written."""
