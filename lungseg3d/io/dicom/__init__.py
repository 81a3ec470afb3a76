"""DICOM series: which files are one CT, and in which order."""
