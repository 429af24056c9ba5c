"""Where a run of the command line puts its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFiles:
    """The paths of one run: all in one folder, all beginning with its name."""

    folder: Path
    name: str

    @property
    def residual(self) -> Path:
        """What training is for; it exists when the run is done."""
        return self._path(".safetensors")

    @property
    def partial(self) -> Path:
        """The residual so far of a run that stopped early."""
        return self._path(".partial.safetensors")

    @property
    def checkpoint(self) -> Path:
        """State that an unfinished run continues from."""
        return self._path(".checkpoint.pt")

    @property
    def class_pictures(self) -> Path:
        """Folder of the pictures that the model made for the scenes of an unfinished run."""
        return self._path("_class_pictures")

    @property
    def table(self) -> Path:
        """CSV file with a row per update."""
        return self._path(".csv")

    @property
    def curve(self) -> Path:
        """The loss curve as a picture."""
        return self._path("_loss.png")

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard files."""
        return self._path("_tensorboard")

    def preview(self, step: int) -> Path:
        """A picture sampled after an update."""
        return self._path(f"_preview_{step:06d}.png")

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.name}{ending}"
