"""Cones 2 (arXiv 2305.19327): several specific subjects in one picture, each where it was painted."""

__version__ = "0.1.0"
