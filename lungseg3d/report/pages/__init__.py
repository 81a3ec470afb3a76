"""HTML pages of cases, batches, evaluations and follow-ups."""
