"""Tiny random diffusion transformers of every family that layouts steer, and CLIPs with their real tokenizers."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models as supported
import sentencepiece
import torch
from comfy.text_encoders import anima, cosmos, flux, krea2, lumina2, pixart_t5, qwen_image, sd3_clip, wan, z_image
from torch import Tensor, nn

WIDTH = 40  # of a text encoder's layer


@dataclass(frozen=True)
class Family:
    """A family.

    host, base: the host's classes. config: of the tiny model. frames: whether latents have a time.
    columns: of its conditioning. joint: whether text and picture are one sequence. patch: latents per cell and side.
    calls, steered: of one forward pass. start: where in a call the text and the picture start, given text tokens.
    """

    host: type
    base: str
    config: dict[str, Any]
    clip: Callable[[], Any]
    calls: int
    steered: int
    columns: int = WIDTH
    frames: bool = False
    joint: bool = True
    patch: int = 2
    start: Callable[[int], tuple[int, int]] = lambda rows: (0, rows)


def build(family: Family, seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """MODEL in float32."""
    torch.manual_seed(seed)
    config = {**family.config, "dtype": torch.float32}
    settings = family.host(config)
    settings.unet_config = config
    model = getattr(comfy.model_base, family.base)(settings, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 1.5 * weight.shape[-1] ** -0.5)
            elif "norm" in name or "scale" in name:
                weight.fill_(1.0)
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
        for buffer in model.diffusion_model.buffers():
            if buffer.is_floating_point() and buffer.numel():
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


class Clip:
    """A CLIP of a family's own tokenizer and text-encoder class around vectors that depend on the token's id alone."""

    layer_idx = None

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self.tokenizer, self.cond_stage_model = tokenizer, encoder

    def tokenize(self, text: str, return_word_ids: bool = False, **options: Any) -> Any:
        return self.tokenizer.tokenize_with_weights(text, return_word_ids, **options)

    def encode_from_tokens_scheduled(self, tokens: Any, add_dict: dict[str, Any] | None = None) -> Any:
        cond, pooled, *more = self.cond_stage_model.encode_token_weights(tokens)
        extra = dict(more[0]) if more else {}
        extra.pop("attention_mask", None)
        return [[cond, {"pooled_output": pooled, **extra, **(add_dict or {})}]]


class Vectors:
    """In place of a text encoder: `layers` of `width` columns for each token, the same wherever it stands.

    more: whether it says which tokens are pads, as language models do.
    """

    def __init__(self, width: int = WIDTH, layers: int = 0, more: bool = True) -> None:
        self.width, self.layers, self.more = width, layers, more

    def encode_token_weights(self, pairs: Any) -> tuple[Any, ...]:
        tokens = [token[0] for chunk in pairs for token in chunk]
        count = max(self.layers, 1)
        rows = torch.stack([
            torch.randn(count, self.width, generator=torch.Generator().manual_seed(token)) for token in tokens
        ])  # fmt: skip
        out = rows.movedim(0, 1)[None]
        extra = ({"attention_mask": torch.ones(1, len(tokens))},) if self.more else ()
        return out if self.layers else out[:, 0], torch.ones(1, self.width), *extra


def tiny_encoder(cls: type, **parts: Any) -> Any:
    """A text-encoder class of the host around `parts`."""
    model = cls.__new__(cls)
    nn.Module.__init__(model)
    name = next(iter(parts))
    model.clip_name = model.clip = name
    for key, part in parts.items():
        setattr(model, key, part)
    return model


def _sentence_pieces(**options: Any) -> Tensor:
    """A tiny SentencePiece model, as text encoders' files hold it."""
    written = io.BytesIO()
    lines = [
        "a dog and a mug on the beach",
        "the red mug is near a corgi dog, the Dog’s hotdog",
        "a 狗 and 🐶 emoji",
        "abcdefghijklmnopqrstuvwxyz-",
    ] * 8
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=written, vocab_size=96, model_type="unigram", minloglevel=2,
        hard_vocab_limit=False, byte_fallback=False, character_coverage=1.0, **options,
    )  # fmt: skip
    return torch.ByteTensor(list(written.getvalue()))


def _tekken() -> Tensor:
    """A tiny vocabulary in Mistral's format: all bytes, some words, the template's marks."""
    words = [b" d", b" do", b" dog", b"do", b"dog", b" m", b" mu", b" mug", b"mu", b"mug"]
    vocab = [bytes([byte]) for byte in range(256)] + words
    marks = ["<unk>", "<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "<pad>"]
    content = {
        "config": {"default_num_special_tokens": 16, "default_vocab_size": 16 + len(vocab)},
        "vocab": [{"rank": n, "token_bytes": base64.b64encode(text).decode()} for n, text in enumerate(vocab)],
        "special_tokens": [{"rank": n, "token_str": text} for n, text in enumerate(marks)],
    }
    return torch.ByteTensor(list(json.dumps(content).encode()))


def _flux1_clip() -> Clip:
    return Clip(
        flux.FluxTokenizer(),
        tiny_encoder(flux.FluxClipModel, t5xxl=Vectors(more=False), clip_l=Vectors(24, more=False)),
    )


def _t5_clip() -> Clip:
    return Clip(pixart_t5.PixArtTokenizer(), tiny_encoder(pixart_t5.PixArtT5XXL, t5xxl=Vectors()))


def _flux2_clip() -> Clip:
    tokenizer = flux.Flux2Tokenizer(tokenizer_data={"tekken_model": _tekken()})
    return Clip(tokenizer, tiny_encoder(flux.Flux2TEModel, mistral3_24b=Vectors(layers=3)))


def klein_clip() -> Clip:
    return Clip(flux.KleinTokenizer(), tiny_encoder(flux.Flux2TEModel, qwen3_4b=Vectors(layers=3)))


def _qwen_clip() -> Clip:
    return Clip(qwen_image.QwenImageTokenizer(), tiny_encoder(qwen_image.QwenImageTEModel, qwen25_7b=Vectors()))


def z_image_clip(width: int = WIDTH) -> Clip:
    return Clip(z_image.ZImageTokenizer(), tiny_encoder(z_image.ZImageTEModel, qwen3_4b=Vectors(width)))


def _lumina_clip() -> Clip:
    pieces = _sentence_pieces(bos_id=2, eos_id=1, pad_id=0, unk_id=3)
    return Clip(
        lumina2.LuminaTokenizer(tokenizer_data={"spiece_model": pieces}),
        tiny_encoder(lumina2.LuminaModel, gemma2_2b=Vectors()),
    )


def sd3_clip_of(**parts: Any) -> Clip:
    """parts: those of its encoders that are loaded."""
    encoder = tiny_encoder(sd3_clip.SD3ClipModel, **{"clip_l": None, "clip_g": None, "t5xxl": None, **parts})
    encoder.t5_attention_mask = False
    return Clip(sd3_clip.SD3Tokenizer(), encoder)


def _sd3_clip() -> Clip:
    small, large, t5 = (Vectors(width, more=False) for width in (768, 1280, 4096))
    return sd3_clip_of(clip_l=small, clip_g=large, t5xxl=t5)


def _krea_clip() -> Clip:
    return Clip(krea2.Krea2Tokenizer(), tiny_encoder(krea2.Krea2TEModel, qwen3vl_4b=Vectors(20, layers=2)))


def _anima_clip() -> Clip:
    return Clip(anima.AnimaTokenizer(), tiny_encoder(anima.AnimaTEModel, qwen3_06b=Vectors(1024)))


def _wan_clip() -> Clip:
    pieces = _sentence_pieces(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return Clip(
        wan.WanT5Tokenizer(tokenizer_data={"spiece_model": pieces}), tiny_encoder(wan.WanT5Model, umt5xxl=Vectors())
    )


def _cosmos_clip() -> Clip:
    return Clip(cosmos.CosmosT5Tokenizer(), tiny_encoder(cosmos.CosmosT5XXL, t5xxl=Vectors()))


_FLUX = dict(
    in_channels=16, out_channels=16, context_in_dim=WIDTH, hidden_size=64, num_heads=2, depth=2, depth_single_blocks=2,
)  # fmt: skip
_LUMINA = dict(image_model="lumina2", patch_size=2, in_channels=16, cap_feat_dim=WIDTH, n_layers=3, qk_norm=True)

FAMILIES = {
    "Flux.1": Family(
        supported.Flux, "Flux",
        dict(_FLUX, image_model="flux", patch_size=2, vec_in_dim=24, mlp_ratio=4.0, axes_dim=[8, 12, 12], theta=10000,
             qkv_bias=True, guidance_embed=True, txt_ids_dims=[]),
        _flux1_clip, 4, 4,
    ),
    "Flux.2": Family(
        supported.Flux2, "Flux2",
        dict(_FLUX, image_model="flux2", patch_size=1, vec_in_dim=None, context_in_dim=3 * WIDTH, mlp_ratio=3.0,
             axes_dim=[8, 8, 8, 8], theta=2000, qkv_bias=False, guidance_embed=True, txt_ids_dims=[3],
             global_modulation=True, mlp_silu_act=True, ops_bias=False),
        _flux2_clip, 4, 4, columns=3 * WIDTH, patch=1,
    ),
    "Chroma": Family(
        supported.Chroma, "Chroma",
        dict(_FLUX, image_model="chroma", in_channels=64, out_channels=64, patch_size=2, mlp_ratio=4.0, depth=19,
             depth_single_blocks=38, axes_dim=[8, 12, 12], theta=10000, qkv_bias=True, txt_ids_dims=[], vec_in_dim=0,
             in_dim=64, out_dim=64, hidden_dim=64, n_layers=2),
        _t5_clip, 57, 57,
    ),
    "Qwen-Image": Family(
        supported.QwenImage, "QwenImage",
        dict(image_model="qwen_image", in_channels=64, out_channels=16, patch_size=2, num_layers=3,
             attention_head_dim=32, num_attention_heads=2, joint_attention_dim=WIDTH, axes_dims_rope=(8, 12, 12)),
        _qwen_clip, 3, 3, frames=True,
    ),
    "Z-Image": Family(
        supported.ZImage, "Lumina2",
        dict(_LUMINA, dim=256, n_heads=2, n_kv_heads=2, axes_dims=[32, 48, 48], axes_lens=[300, 512, 512],
             rope_theta=256.0, ffn_dim_multiplier=8 / 3, z_image_modulation=True, time_scale=1000.0,
             pad_tokens_multiple=32),
        z_image_clip, 7, 3, start=lambda rows: (0, -(-rows // 32) * 32),
    ),
    "Lumina 2": Family(
        supported.Lumina2, "Lumina2",
        dict(_LUMINA, dim=64, n_heads=2, n_kv_heads=1, axes_dims=[8, 12, 12], axes_lens=[300, 512, 512],
             rope_theta=10000.0, ffn_dim_multiplier=4.0),
        _lumina_clip, 7, 3,
    ),
    "SD3.5": Family(
        supported.SD3, "SD3",
        dict(in_channels=16, patch_size=2, depth=2, num_blocks=3, input_size=None, adm_in_channels=2048,
             pos_embed_max_size=64, num_patches=4096, qk_norm="rms", x_block_self_attn_layers=[0], out_channels=16,
             context_embedder_config={"target": "torch.nn.Linear",
                                      "params": {"in_features": 4096, "out_features": 128}},
             pos_embed_scaling_factor=None),
        _sd3_clip, 4, 3, columns=4096,
    ),
    "Krea 2": Family(
        supported.Krea2, "Krea2",
        dict(image_model="krea2", features=64, tdim=32, txtdim=20, heads=2, kvheads=1, multiplier=4, layers=3, patch=2,
             channels=16, txtlayers=2, txtheads=2, txtkvheads=2),
        _krea_clip, 7, 3, frames=True,
    ),
    "Anima": Family(
        supported.Anima, "Anima",
        dict(image_model="anima", max_img_h=64, max_img_w=64, max_frames=4, in_channels=16, out_channels=16,
             patch_spatial=2, patch_temporal=1, concat_padding_mask=True, crossattn_emb_channels=1024,
             pos_emb_cls="rope3d", model_channels=128, num_blocks=2, num_heads=2, use_adaln_lora=True,
             adaln_lora_dim=16),
        _anima_clip, 4, 2, frames=True, joint=False, start=lambda rows: (0, 0),
    ),
    "Cosmos": Family(
        supported.CosmosT2IPredict2, "CosmosPredict2",
        dict(image_model="cosmos_predict2", max_img_h=64, max_img_w=64, max_frames=4, in_channels=16, out_channels=16,
             patch_spatial=2, patch_temporal=1, concat_padding_mask=True, crossattn_emb_channels=WIDTH,
             pos_emb_cls="rope3d", model_channels=128, num_blocks=2, num_heads=2, use_adaln_lora=True,
             adaln_lora_dim=16),
        _cosmos_clip, 4, 2, frames=True, joint=False, start=lambda rows: (0, 0),
    ),
    "Wan": Family(
        supported.WAN21_T2V, "WAN21",
        dict(image_model="wan2.1", model_type="t2v", dim=64, ffn_dim=128, num_heads=2, num_layers=2,
             patch_size=(1, 2, 2), freq_dim=32, in_dim=16, out_dim=16, text_dim=WIDTH, text_len=512,
             window_size=(-1, -1), qk_norm=True, cross_attn_norm=True, eps=1e-6),
        _wan_clip, 4, 2, frames=True, joint=False, start=lambda rows: (0, 0),
    ),
}  # fmt: skip


@lru_cache(maxsize=3)
def parts(name: str) -> tuple[Any, Clip, Family]:
    """MODEL, CLIP and description of a family."""
    family = FAMILIES[name]
    return build(family), family.clip(), family


def noise(family: Family, batch: int = 1, height: int = 16, width: int = 24, seed: int = 3) -> Tensor:
    shape = (batch, 16, 1, height, width) if family.frames else (batch, 16, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
