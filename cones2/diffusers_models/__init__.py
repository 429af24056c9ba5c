"""Models made of diffusers and transformers components; both are imported only when a model is loaded."""
