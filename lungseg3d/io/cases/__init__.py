"""Names and folders of cases, and which patient they are of."""
