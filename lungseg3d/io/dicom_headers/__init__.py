"""Headers of single DICOM files, and what their values mean."""
