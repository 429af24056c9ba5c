"""Noise levels, noise, and the sampler with self-recurrence."""
