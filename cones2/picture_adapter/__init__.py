"""Subjects from pictures without training: IP-Adapter and MIP-Adapter (arXiv 2409.17920), any number of subjects."""
