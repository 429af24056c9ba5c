"""The autoencoder: SD's AutoencoderKL in miniature, 64x64 pixels to 16x16x4 latents."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from cones2.evaluation.toyworld.world import random_scene, render

from .run import Options, Trainer

# Widths are multiples of 32 and the middle block has attention, as ldm's autoencoder demands.
NETWORK = {
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 64,
}
POOL = 2048  # pictures kept in memory
OBJECT_WEIGHT = 2.0
KL_WEIGHT = 1e-4
LATENT_NOISE = 0.05  # of a standard deviation, so that the decoder forgives a denoiser's errors
DRIFT_WEIGHT = 0.05  # of the latents' distance from those before the tuning
TIGHT = -8.0  # log variance of the posterior when latents are given
CROP_SHARE = 0.75  # of the steps see quarter-size crops: cheaper, and all of them on objects


class Pictures:
    """Rendered scenes and, if a reference autoencoder is given, its latents."""

    def __init__(self, options: Options, reference: AutoencoderKL | None) -> None:
        rng = random.Random(options.seed + 7)
        parts = [render([random_scene(rng) for _ in range(64)]) for _ in range(POOL // 64)]
        self.pixels = torch.cat([p[0] for p in parts]) * 2 - 1
        self.inside = (torch.cat([p[1] for p in parts]) > 0).float()[:, None]
        self.latents = None if reference is None else self._encoded(reference)
        self.options = options

    @torch.no_grad()
    def _encoded(self, reference: AutoencoderKL) -> torch.Tensor:
        return torch.cat([reference.encode(x).latent_dist.mean for x in self.pixels.split(64)])

    def draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Pixels, per-pixel weights and given latents of one step, cropped early in training."""
        rng = random.Random(self.options.seed * 1_000_003 + step)
        rows = [rng.randrange(len(self.pixels)) for _ in range(self.options.batch)]
        layers = [self.pixels[rows], 1 + OBJECT_WEIGHT * self.inside[rows]]
        if self.latents is not None:
            layers.append(self.latents[rows])
        if step >= CROP_SHARE * self.options.steps:
            if self.latents is not None:  # tuning: whole pictures cost as much as the crops did
                layers = [layer[: max(1, len(rows) // 4)] for layer in layers]
        else:
            layers = _cropped(layers, self.inside[rows, 0], rng)
        x, weight, *latents = (layer.to(self.options.device) for layer in layers)
        return x, weight, latents[0] if latents else None


def _cropped(layers: list[torch.Tensor], inside: torch.Tensor, rng: random.Random) -> list[torch.Tensor]:
    """The same 32x32 window around a random object pixel from every layer, on the latent grid."""
    crops: list[list[torch.Tensor]] = [[] for _ in layers]
    for row, mask in enumerate(inside):
        places = mask.nonzero()
        center = places[rng.randrange(len(places))].tolist() if len(places) else [rng.randrange(64) for _ in range(2)]
        top, left = (min(8, max(0, round((c - 16 + rng.randint(-8, 8)) / 4))) for c in center)
        for kept, layer in zip(crops, layers, strict=True):
            unit = layer.shape[-1] // 16
            kept.append(layer[row, :, top * unit : (top + 8) * unit, left * unit : (left + 8) * unit])
    return [torch.stack(c) for c in crops]


def vae_loss(vae: AutoencoderKL, x: torch.Tensor, weight: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
    """Weighted L1 + MSE of the reconstruction, and what shapes the latents.

    Without given latents that is a small KL term; with them the encoder learns to hit them and
    the decoder to read them.
    """
    posterior = vae.encode(x).latent_dist
    if given is None:
        z = posterior.sample()
        shaping = KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
    else:
        z = given + LATENT_NOISE * given.std() * torch.randn_like(given)
        miss = F.smooth_l1_loss(posterior.mean, given)
        shaping = 0.2 * miss + 1e-3 * ((posterior.logvar - TIGHT) ** 2).mean()
    error = vae.decode(z).sample - x
    return (weight * error.abs()).mean() + 2 * (weight * error**2).mean() + shaping


def tuning_loss(vae: AutoencoderKL, x: torch.Tensor, weight: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Weighted L1 + MSE of the reconstruction; the latents stay near those before the tuning."""
    z = vae.encode(x).latent_dist.mean
    drift = F.smooth_l1_loss(z, before)
    error = vae.decode(z + LATENT_NOISE * z.detach().std() * torch.randn_like(z)).sample.float() - x
    return (weight * error.abs()).mean() + 2 * (weight * error**2).mean() + DRIFT_WEIGHT * drift


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, seed: int = 99, count: int = 128) -> float:
    """Peak signal-to-noise ratio in dB on fresh scenes."""
    rng = random.Random(seed)
    pixels, _ = render([random_scene(rng) for _ in range(count)])
    x = (pixels * 2 - 1).to(vae.device)
    y = vae.decode(vae.encode(x).latent_dist.mean).sample
    return float(-10 * torch.log10((((y - x) / 2) ** 2).mean()))


def decoder_loss(vae: AutoencoderKL, x: torch.Tensor, weight: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Weighted L1 + MSE of the pictures decoded from slightly noisy latents."""
    error = vae.decode(z + LATENT_NOISE * z.std() * torch.randn_like(z)).sample.float() - x
    return (weight * error.abs()).mean() + 2 * (weight * error**2).mean()


def _tune(name: str, options: Options, whole: bool) -> None:
    torch.manual_seed(options.seed)
    vae = AutoencoderKL.from_pretrained(options.work / "vae", torch_dtype=torch.float32).to(options.device)
    print(f"{name}: from {reconstruction_psnr(vae.eval()):.1f} dB on fresh scenes", flush=True)
    pictures = Pictures(options, vae)
    vae.encoder.requires_grad_(whole)
    tuned = vae if whole else vae.decoder
    trainer = Trainer(name, tuned, options, decay=0.995)
    kind = torch.device(options.device).type
    chosen = tuning_loss if whole else decoder_loss
    loss_of = torch.compile(chosen, dynamic=False) if options.compiled else chosen
    while trainer.running():
        x, weight, latents = pictures.draw(trainer.step)
        assert latents is not None
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=options.bfloat16):
            loss = loss_of(vae, x, weight, latents)
        trainer.apply(loss)
    trainer.average.copy_to(tuned)
    vae.save_pretrained(options.work / "vae")
    print(f"{name}: {reconstruction_psnr(vae):.1f} dB on fresh scenes", flush=True)


def tune_decoder(options: Options) -> None:
    """Train the decoder of WORK/vae further; the latent space stays, so the denoiser need not know."""
    _tune("decoder", options, whole=False)


def tune(options: Options) -> None:
    """Train all of WORK/vae further; the latents drift a little, so the denoiser must be trained after it."""
    _tune("encoder", options, whole=True)


@torch.no_grad()
def _scale(vae: AutoencoderKL, pictures: Pictures) -> float:
    return float(1 / vae.encode(pictures.pixels[:256].to(vae.device)).latent_dist.mean.std())


def train(options: Options) -> None:
    """Train the autoencoder into WORK/vae; with `init`, into the latent space of that one."""
    torch.manual_seed(options.seed)
    reference = None
    if options.init is not None:
        reference = AutoencoderKL.from_pretrained(options.init, torch_dtype=torch.float32).eval()
    vae = AutoencoderKL(**NETWORK).to(options.device)
    trainer = Trainer("vae", vae, options, decay=0.995)
    pictures = Pictures(options, reference)
    while trainer.running():
        trainer.apply(vae_loss(vae, *pictures.draw(trainer.step)))
    trainer.average.copy_to(vae)
    scale = reference.config.scaling_factor if reference else _scale(vae.eval(), pictures)
    vae.register_to_config(scaling_factor=scale)
    vae.save_pretrained(options.work / "vae")
    print(f"vae: {reconstruction_psnr(vae.eval()):.1f} dB on fresh scenes")
