"""What a batch knows of its cases: journal, identity, records."""
