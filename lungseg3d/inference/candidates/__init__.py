"""From a probability map to nodules: search, second look, judgement, outlines."""
