"""What holds for every input format: finding files, limits, geometry, grey values."""
