"""What layouts do inside attention layers: weight maps, the additive term, heat maps."""
