"""Results as CSV and JSON, for programs."""
