"""Pixel data of DICOM files, in every transfer syntax."""
