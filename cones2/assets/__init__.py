"""What ships beside the code."""

from pathlib import Path

TOYWORLD = Path(__file__).parent / "toyworld"
"""The toy model in diffusers' layout, with its card, detector, residuals and the pictures of its custom subjects."""
