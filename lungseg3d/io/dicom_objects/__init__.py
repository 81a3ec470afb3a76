"""DICOM objects that are written or read beside a CT: SEG, SR, RTSTRUCT."""
