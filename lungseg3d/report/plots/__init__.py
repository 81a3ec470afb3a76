"""Charts, drawn as SVG inside pages."""
