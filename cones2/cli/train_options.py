"""The options of one run of `cones2 train`, from flags, a YAML file or a script."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..training.config import Precision, TrainingConfig


@dataclass(frozen=True)
class TrainOptions:
    """The recipe, the photos, the model, and what becomes of the result.

    config: the recipe; its precision is replaced by `precision` or the device's own.
    model: a diffusers folder or a checkpoint file.
    images: folder of the photos.
    name: name of the run's files, without ending.
    masks: folder of masks, named as the photos.
    out: folder of the run's files.
    resolution: side of the training pictures in pixels; None: the model's own.
    buckets: keep the photos' proportions instead of cropping squares.
    crops: random crops per oblong photo; 1: the center.
    flip: add mirrored photos.
    overwrite: replace a residual of this name.
    restart: ignore the checkpoint of an interrupted run.
    preview_every: updates between sampled pictures, 0 for none.
    preview_prompt: their prompt; empty: "a photo of a" and the subject.
    tensorboard: also write TensorBoard files.
    device: where to train; None: on cuda where there is one, else on the CPU.
    precision: number format of the frozen networks; None: float16 on cuda, else float32.
    gradient_checkpointing: recompute activations: less memory, slower.
    tokenizer: folder of the CLIP tokenizer of a checkpoint file.
    prediction_type: overrides what the model says.
    """

    config: TrainingConfig
    model: Path
    images: Path
    name: str
    masks: Path | None = None
    out: Path = Path("residuals")
    resolution: int | None = None
    buckets: bool = False
    crops: int = 4
    flip: bool = False
    overwrite: bool = False
    restart: bool = False
    preview_every: int = 0
    preview_prompt: str = ""
    tensorboard: bool = False
    device: str | None = None
    precision: Precision | None = None
    gradient_checkpointing: bool = False
    tokenizer: Path | None = None
    prediction_type: Literal["epsilon", "v_prediction"] | None = None

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
