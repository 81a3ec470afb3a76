"""Image files: NIfTI, NRRD, MetaImage."""
