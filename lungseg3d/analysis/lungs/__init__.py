"""Lungs: segmented by rules, their parts, sides, quality and disease."""
