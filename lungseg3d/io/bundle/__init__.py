"""MONAI bundles on the disk: found, checked, and their weights."""
