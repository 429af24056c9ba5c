"""CD4: the published training loop and its augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor, nn

from cones2.custom_diffusion.files import load_delta
from cones2.diffusers_models.deltas import with_token_rows
from cones2.diffusers_models.for_delta_training import delta_training_model, start_rows
from cones2.prompt.conditioning import Conditioning
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from cones2.training.augmentation import Draw, augmented
from cones2.training.config import TrainedAttention, delta_config
from cones2.training.delta_method import ConceptBatch, DeltaMethod
from cones2.training.loop import Trainer
from tests.parity.cd_models import CdModels
from tests.parity.references import Case
from tests.parity.report import Figure, difference, mismatches

LOSSES, ROWS, WEIGHTS, PIXELS = 1e-5, 1e-5, 1e-3, 1.01 / 127.5
PREDICTION = 1e-4


def training_figures(case: Case, models: CdModels) -> list[Figure]:
    """The recorded draws through the engine's loop, compared step by step."""
    with torch.inference_mode(False), torch.enable_grad():
        return _Run(case, models).figures()


class _Run:
    """One recorded run."""

    def __init__(self, case: Case, models: CdModels) -> None:
        self._case, self._models, data = case, models, case.data
        initial = case.tensors["token_rows_initial"]
        self._names = [f"<new{place + 1}>" for place in range(len(initial))]
        rows = [nn.Parameter(initial.clone())]
        attention: TrainedAttention = "keys and values" if data["freeze_model"] == "crossattn_kv" else "all"
        networks = delta_training_model(models.model, self._names, rows, attention)
        text = with_token_rows(models.model.text, self._names, rows)
        self._predictions: list[Tensor] = []

        def encode_text(prompts: Sequence[str]) -> Conditioning:
            ids = [case.tensors["input_ids"][tuple(map(int, prompt.split()))] for prompt in prompts]
            return text.embed([torch.stack(ids).long()])

        def predict(noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, *rest: object) -> Tensor:
            output = networks.predict(noisy, timesteps, conditioning, None)
            self._predictions.append(output.detach())
            return output

        adam = data["adamw"]
        self._config = delta_config(
            "cat",
            steps=data["steps"],
            learning_rate=data["learning_rate_in_force"],
            batch_size=int(data["argv"][data["argv"].index("--train_batch_size") + 1]),
            betas=tuple(adam["betas"]),
            epsilon=adam["eps"],
            weight_decay=adam["weight_decay"],
            max_grad_norm=data["max_grad_norm"],
            prior_weight=data["prior_loss_weight"],
            tokens="+".join(self._names),
            attention=attention,
            checkpoint_every=0,
        )
        published = len(self._names) > 1 and not data["with_token_gradient_fix"]
        plan = data["scheduler"]
        alphas = scaled_linear_alphas(plan["beta_start"], plan["beta_end"], plan["num_train_timesteps"])
        noise = make_noise(plan["prediction_type"], alphas)
        model = replace(networks, encode_text=encode_text, predict=predict, noise=noise)
        self._method = DeltaMethod(model, self._config, published_tokens=published)

    def figures(self) -> list[Figure]:
        data, stored = self._case.data, self._case.tensors
        rows: list[Tensor] = []
        trainer = Trainer(self._method, self._batch, self._config)
        result = trainer.run(lambda _: rows.append(self._method.rows[0].detach().clone()))
        history = result.history
        figures = [
            _largest("losses", [record["loss"] for record in history], data["loss"]),
            difference("tokens", torch.stack(rows), stored["token_rows_after_step"], ROWS),
        ]
        if data["prior"]:
            prior = [record["prior"] / (data["prior_loss_weight"] or 1) for record in history]
            figures.append(_largest("losses of the class pictures", prior, data["prior_loss"]))
        photos = self._config.batch_size
        ours = torch.stack([output[:photos] for output in self._predictions[:3]])
        figures.append(difference("predictions", ours, stored["model_pred_instance_first3"], PREDICTION))
        return [*figures, *self._start_figures(), *self._weight_figures()]

    def _weight_figures(self) -> list[Figure]:
        """The L2 norm of the difference of all weights, relative to that of their change."""
        path = self._case.path.parent / f"{self._case.name}.delta.bin"
        ours, saved, base = self._method.delta(), load_delta(path), self._models.base
        pairs = [
            (change.parts()["whole"], saved.weights[name].parts()["whole"], base[name])
            for name, change in ours.weights.items()
        ]
        change = torch.cat([(theirs - start).flatten() for _, theirs, start in pairs]).norm()
        error = torch.cat([(mine - theirs).flatten() for mine, theirs, _ in pairs]).norm()
        wanted = list(saved.weights)
        return [
            mismatches("names", sorted(ours.weights), sorted(wanted)),
            Figure("weights, relative to the change", float(error / change), WEIGHTS),
            *(
                difference(f"saved {one.name}", one.vectors[0], other.vectors[0], ROWS)
                for one, other in zip(ours.tokens, saved.tokens, strict=True)
            ),
        ]

    def _start_figures(self) -> list[Figure]:
        if not self._models.model.text.tokenizers:
            return []
        (rows,) = start_rows(self._models.model.text, self._names)
        return [difference("start values", rows.detach(), self._case.tensors["token_rows_initial"], 0.0)]

    def _batch(self, step: int, micro: int) -> list[tuple[float, ConceptBatch]]:
        stored, photos = self._case.tensors, self._config.batch_size
        count = stored["latents"].shape[1]
        batch = ConceptBatch(
            latents=stored["latents"][step],
            noise=stored["noise"][step],
            timesteps=stored["timesteps"][step].long(),
            prompts=tuple(f"{step} {row}" for row in range(count)),
            masks=stored["mask"][step, :photos].float(),
        )
        return [(1.0, batch)]


def augment_figures(case: Case) -> list[Figure]:
    """The recorded draws through the engine's augmentation."""
    size, figures = int(case.data["size"]), []
    stored, pad = case.tensors["mask"], case.tensors["pad"]
    cells = stored.shape[-1]
    with Image.open(case.path.with_suffix(".pixels.png")) as image:
        wanted = torch.tensor(list(image.convert("RGB").tobytes()), dtype=torch.float32)
    wanted = wanted.view(-1, size, size, 3).permute(0, 3, 1, 2) / 127.5 - 1
    for index, item in enumerate(case.data["items"]):
        with Image.open(case.path.parent / item["source"]) as source:
            ours = augmented(source.convert("RGB"), size, _draw(item, size), cells)
        target = wanted[index].masked_fill(pad[index].bool()[None], 0.0)
        figures.append(difference(f"pixels of item {index}", ours.pixels, target, PIXELS))
        figures.append(difference(f"mask of item {index}", ours.mask[0], stored[index].float(), 0.0))
        words = _draw(item, size).words
        figures.append(mismatches(f"caption of item {index}", [words], [_words(item["caption"])]))
        figures.append(Figure(f"padding of item {index}", abs(int(pad[index].sum()) - item["padded_pixels"]), 0.0))
    return figures


def _draw(item: dict[str, object], size: int) -> Draw:
    draws = [value for _, _, value in item["draws"]]  # type: ignore[attr-defined]
    side = int(draws[1]) + int(draws[1]) % 2
    where = draws[2:] or ["", 0, 0]
    return Draw(side, str(where[0]), int(where[1]), int(where[2]), bool(item["flipped"]))


def _words(caption: str) -> str:
    return next(
        (word for word in ("a far away ", "very small ", "zoomed in ", "close up ") if caption.startswith(word)), ""
    )


def _largest(name: str, ours: Sequence[float], wanted: Sequence[float], tolerance: float = LOSSES) -> Figure:
    """Largest error, relative where the figure exceeds 1."""
    if len(ours) != len(wanted):
        return Figure(f"number of {name}", abs(len(ours) - len(wanted)), 0.0)
    worst = max(abs(one - other) / max(1.0, abs(other)) for one, other in zip(ours, wanted, strict=True))
    return Figure(name, worst, tolerance)
