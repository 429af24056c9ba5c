"""Custom Diffusion (Kumari et al., arXiv 2212.04488): new keys and values of the cross-attention, and words of its own.

A concept is a `Delta`: changes of weights and `ModifierToken`s. `files` reads and writes every format in use, `fit`
says what a delta does to a base model, `merge` and `compress` make deltas of deltas.
"""
