"""Custom Diffusion (Kumari et al., arXiv 2212.04488): new keys and values of the cross-attention, and new words."""
