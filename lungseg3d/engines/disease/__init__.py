"""Disease painted into healthy lungs, for training."""
