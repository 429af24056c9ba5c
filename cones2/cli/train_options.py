"""The options of one run of `cones2 train`, from flags, a YAML file or a script."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..training.config import TrainingConfig
from ..training.model import Precision


@dataclass(frozen=True)
class TrainOptions:
    """The recipe, the photos, the model, and what becomes of the result."""

    config: TrainingConfig
    """The recipe; its precision is replaced by `precision` or the device's own."""
    model: Path
    """A diffusers folder or a checkpoint file."""
    images: Path
    """Folder of the photos."""
    name: str
    """Name of the run's files, without ending."""
    masks: Path | None = None
    """Folder of masks, named as the photos."""
    out: Path = Path("residuals")
    """Folder of the run's files."""
    resolution: int | None = None
    """Side of the training pictures in pixels; None: the model's own."""
    buckets: bool = False
    """Keep the photos' proportions instead of cropping squares."""
    crops: int = 4
    """Random crops per oblong photo; 1: the center."""
    flip: bool = False
    """Add mirrored photos."""
    overwrite: bool = False
    """Replace a residual of this name."""
    restart: bool = False
    """Ignore the checkpoint of an interrupted run."""
    preview_every: int = 0
    """Updates between sampled pictures, 0 for none."""
    preview_prompt: str = ""
    """Their prompt; empty: "a photo of a" and the subject."""
    tensorboard: bool = False
    """Also write TensorBoard files."""
    device: str | None = None
    """Where to train; None: on cuda where there is one, else on the CPU."""
    precision: Precision | None = None
    """Number format of the frozen networks; None: float16 on cuda, else float32."""
    gradient_checkpointing: bool = False
    """Recompute activations: less memory, slower."""
    tokenizer: Path | None = None
    """Folder of the CLIP tokenizer of a checkpoint file."""
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    """Overrides what the model says."""

    def inside(self, folder: Path) -> TrainOptions:
        """The same with relative paths taken from a folder."""
        return replace(
            self,
            model=folder / self.model,
            images=folder / self.images,
            masks=self.masks and folder / self.masks,
            out=folder / self.out,
            tokenizer=self.tokenizer and folder / self.tokenizer,
        )
