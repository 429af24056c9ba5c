"""The model families: text encoders, widths, what the denoiser predicts and how it attends."""
