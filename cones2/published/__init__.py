"""The file format and the rules of the published Cones 2 code."""
