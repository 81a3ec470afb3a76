"""Which findings are listed: calibration, operating points."""
