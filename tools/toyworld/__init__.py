"""Training and measuring the toy world: a miniature Stable Diffusion on synthetic scenes."""
