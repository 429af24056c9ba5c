"""The toy world: its objects and scenes, their renderings, and the detector that judges samples."""
