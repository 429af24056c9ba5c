"""Renderings made as soft and crooked as generated pictures are, for the judge to learn from."""

from __future__ import annotations

from enum import Enum

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

BEND = 1.6  # pixels, standard deviation of how far a picture is bent
BLUR = (0.5, 1.1)  # pixels, range of the standard deviation
SMEAR = (1.0, 2.4)  # the same for color alone
FADED = 0.35  # of a second color is left where it fades most
LATENT_NOISE = (0.1, 0.35)  # of the latents' standard deviation


class Softened(Enum):
    """What happens to a picture."""

    NOTHING = "nothing"
    DECODED = "decoded"  # through the autoencoder
    NOISY = "noisy"  # bent, and decoded from noisy latents
    SMEARED = "smeared"  # bent, decoded, its colors blurred
    BLURRED = "blurred"  # bent and blurred


@torch.no_grad()
def through(vae: AutoencoderKL, pictures: torch.Tensor, noise: float = 0.0) -> torch.Tensor:
    """Pictures [B, 3, H, W] in [0, 1] after the autoencoder; noise: share of the latents' deviation."""
    latents = vae.encode((pictures * 2 - 1).to(vae.device)).latent_dist.mean
    latents = latents + noise * latents.std() * torch.randn_like(latents)
    return ((vae.decode(latents).sample + 1) / 2).clamp(0, 1).cpu()


def blurred(pictures: torch.Tensor, deviation: float) -> torch.Tensor:
    """Pictures after a Gaussian blur of so many pixels."""
    axis = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (axis / deviation) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
    wide = F.conv2d(F.pad(pictures, (4, 4, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(wide, (0, 0, 4, 4), mode="replicate"), kernel.transpose(2, 3), groups=3)


def smeared(pictures: torch.Tensor, deviation: float) -> torch.Tensor:
    """Pictures whose colors, but not their brightness, are blurred."""
    low = blurred(pictures, deviation)
    return (low + (pictures - low).mean(1, keepdim=True)).clamp(0, 1)


def faded(pictures: torch.Tensor, bare: torch.Tensor) -> torch.Tensor:
    """Pictures whose second colors fade here and there into those of `bare`, the same scenes without them."""
    coarse = torch.randn(len(pictures), 1, 8, 8)
    share = FADED + (1 - FADED) * torch.sigmoid(2 * F.interpolate(coarse, pictures.shape[-2:], mode="bicubic") + 0.5)
    return bare + share * (pictures - bare)


def bent(pictures: torch.Tensor, owners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and owner maps [B, H, W] under the same smooth random displacement."""
    count, _, height, width = pictures.shape
    coarse = torch.randn(count, 2, 7, 7) * BEND * 2 / width
    shift = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    straight = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), [count, 1, height, width], align_corners=False)
    places = straight + shift
    moved = F.grid_sample(pictures, places, padding_mode="border", align_corners=False)
    kept = F.grid_sample(owners[:, None].float(), places, mode="nearest", padding_mode="border", align_corners=False)
    return moved, kept[:, 0].round().to(owners.dtype)


def _within(bounds: tuple[float, float]) -> float:
    return float(torch.empty(()).uniform_(*bounds))


def softened(
    vae: AutoencoderKL, pictures: torch.Tensor, owners: torch.Tensor, how: Softened, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [B, 3, 64, 64] and owners [B, 64, 64] after one kind of softening; the seed decides its strength."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if how is Softened.NOTHING:
            return pictures, owners
        if how is Softened.DECODED:
            return through(vae, pictures), owners
        pictures, owners = bent(pictures, owners)
        if how is Softened.BLURRED:
            return blurred(pictures, _within(BLUR)), owners
        if how is Softened.NOISY:
            return through(vae, pictures, _within(LATENT_NOISE)), owners
        return smeared(through(vae, pictures), _within(SMEAR)), owners
