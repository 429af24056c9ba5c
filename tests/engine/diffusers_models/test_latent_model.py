"""Sampling on diffusers components: equal to the algorithm written out, and without traces afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cones2.concepts.residual import make_residual
from cones2.diffusers_models.attention import ForwardState, guided_unet
from cones2.diffusers_models.latent_model import DiffusersModel, to_images
from cones2.errors import Cancelled, ModelError, PromptError, ResidualError
from cones2.guidance.cross_attention import LayoutBias
from cones2.guidance.heat_maps import AttentionRecorder, share_inside
from cones2.layout.regions import Box, Layout, layout_from_boxes
from cones2.prompt.claims import PhraseRef
from cones2.prompt.conditioning import Conditioning, PromptFormat
from cones2.prompt.tokens import words
from cones2.published.rules import PUBLISHED_RULES
from cones2.rules import GuidanceSettings
from cones2.sampling.settings import SamplingSettings
from cones2.scene import Scene, compose
from tests.support.tiny_diffusers import WIDTH, naive_sample, naive_sigmas, tiny_model

PROMPT = "a mug and a dog on the beach"
ROWS = (2, 5)  # of "mug" and "dog"
SETTINGS = SamplingSettings(steps=4, guided_steps=3, seeds=(7,), height=32, width=48)


@pytest.fixture(scope="module")
def models() -> dict[str, DiffusersModel]:
    return {kind: tiny_model(kind) for kind in ("v_prediction", "epsilon")}


@pytest.fixture(scope="module")
def model(models) -> DiffusersModel:
    return models["v_prediction"]


def mug_and_dog(height=96, width=144) -> Layout:
    boxes = [Box(0.05, 0.1, 0.4, 0.6), Box(0.55, 0.3, 0.4, 0.65)]
    return layout_from_boxes(boxes, ["mug", "dog"], height, width, unit="fractions", weights=[2.5, 2.0])


def scene_of(model: DiffusersModel, prompt: str = PROMPT, negative: str = "", residuals=()) -> Scene:
    return compose(model, prompt, residuals, mug_and_dog(), negative)


def layout_bias(scene: Scene) -> LayoutBias:
    (term,) = scene.terms
    assert isinstance(term, LayoutBias)
    return term


def without_layout(scene: Scene) -> Scene:
    return replace(scene, terms=())


def close(ours: torch.Tensor, expected: torch.Tensor) -> bool:
    scale = max(1.0, float(expected.abs().max()))
    return float((ours - expected).abs().max()) <= 1e-5 * scale


VARIANTS = {
    "published defaults": {},
    "all steps guided": {"guided_steps": None},
    "more guided steps than steps": {"guided_steps": 9},
    "nothing guided": {"guided_steps": 0},
    "no recurrence": {"recurrence": False},
    "dynamic cfg": {"dynamic_cfg": True},
    "cfg 1": {"cfg": 1.0},
    "cfg 1, dynamic": {"cfg": 1.0, "dynamic_cfg": True},
    "square": {"height": 32, "width": 32},
    "tall": {"height": 64, "width": 16},
    "odd grids": {"height": 36, "width": 44},
    "one step": {"steps": 1},
}


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_sampling_equals_the_written_out_algorithm(models, kind, variant):
    model, settings = models[kind], replace(SETTINGS, **VARIANTS[variant])
    scene = scene_of(model)
    ours = model.sample(scene, settings)
    expected = naive_sample(model, scene.positive.embeds, scene.negative.embeds, mug_and_dog(), ROWS, settings, seed=7)
    assert close(ours, expected)


def test_the_layout_changes_the_picture(model):
    scene = scene_of(model)
    guided = model.sample(scene, SETTINGS)
    plain = model.sample(without_layout(scene), SETTINGS)
    assert float((guided - plain).abs().max()) > 1e-2


def test_residuals_negative_prompt_and_long_prompt(model):
    """Rows beyond 77 are conditioned and steered as well, and both halves have as many rows."""
    prompt = "the house near " * 26 + "a mug and a dog on the beach"
    residual = make_residual("dog", torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1)) * 3)
    plain = scene_of(model, prompt, "red red red").positive.embeds
    scene = scene_of(model, prompt, "red red red", [residual])
    assert scene.positive.embeds.shape == scene.negative.embeds.shape == (1, 154, WIDTH)
    rows = (77 + 1 + 78 - 75 + 1, 77 + 1 + 78 - 75 + 4)
    assert layout_bias(scene).maps.token_indices == rows
    changed = (scene.positive.embeds - plain).abs().amax(-1)[0].nonzero().flatten().tolist()
    assert changed == [rows[1]]
    ours = model.sample(scene, SETTINGS)
    assert close(
        ours, naive_sample(model, scene.positive.embeds, scene.negative.embeds, mug_and_dog(), rows, SETTINGS, 7)
    )


def test_batch_equals_each_image_alone(models):
    for model in models.values():
        scene = scene_of(model)
        together = model.sample(scene, replace(SETTINGS, seeds=(3, 4)))
        for index, seed in enumerate((3, 4)):
            alone = model.sample(scene, replace(SETTINGS, seeds=(seed,)))
            assert close(together[index : index + 1], alone)


def test_joint_deviation_of_the_published_rules_mixes_images(model):
    scene = scene_of(model)
    joint = replace(scene, terms=(replace(layout_bias(scene), joint_batch=True),))
    together = model.sample(joint, replace(SETTINGS, seeds=(3, 4)))
    alone = model.sample(joint, replace(SETTINGS, seeds=(3,)))
    assert not close(together[:1], alone)


def test_published_rules_take_sigma_from_a_second_table(model):
    scene = scene_of(model)
    published = model.sample(replace(scene, rules=PUBLISHED_RULES["cones2"]), SETTINGS)
    _, second = naive_sigmas(3)
    expected = naive_sample(
        model, scene.positive.embeds, scene.negative.embeds, mug_and_dog(), ROWS, SETTINGS, 7, bias_sigmas=second
    )
    assert close(published, expected)
    assert not close(published, model.sample(scene, SETTINGS))


def test_both_prompts_go_through_one_forward(model):
    """The published code calls the UNet once per prompt."""
    batches = []
    hook = model.unet.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    scene = scene_of(model)
    model.sample(scene, replace(SETTINGS, seeds=(0, 1, 2)))
    hook.remove()
    assert batches == [6] * (4 + 3)


def test_cfg_one_leaves_the_negative_prompt_out(model):
    batches = []
    hook = model.unet.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    scene = scene_of(model)
    model.sample(scene, replace(SETTINGS, cfg=1.0))
    hook.remove()
    assert batches == [1] * (4 + 3)


def traces(unet: torch.nn.Module) -> list[object]:
    """Everything a run may leave behind: processors and hooks."""
    processors = [module.processor for module in unet.modules() if hasattr(module, "processor")]
    hooks = [hook for module in unet.modules() for hook in (*module._forward_pre_hooks, *module._forward_hooks)]
    return [*map(id, processors), *hooks]


def raising(_: object) -> None:
    raise RuntimeError("the callback broke")


@pytest.mark.parametrize(
    ("callback", "error"),
    [(None, None), (raising, RuntimeError), (lambda info: info.step < 1, Cancelled)],
    ids=["normal end", "exception", "canceled"],
)
def test_processors_are_back_afterwards(model, callback, error):
    before = traces(model.unet)
    scene = scene_of(model)
    during: list[bool] = []

    def observe(*_: object) -> None:
        during.append(traces(model.unet) != before)

    run = lambda: model.sample(scene, SETTINGS, callback, observe)  # noqa: E731
    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert during and all(during)
    assert traces(model.unet) == before


def test_processors_are_back_when_patching_itself_fails(model, monkeypatch):
    before = traces(model.unet)
    layers = [m for m in model.unet.modules() if hasattr(m, "transformer_blocks")]
    monkeypatch.setattr(layers[-1], "register_forward_pre_hook", raising)
    with pytest.raises((RuntimeError, TypeError)), guided_unet(model.unet, ForwardState()):
        pass
    monkeypatch.undo()
    assert traces(model.unet) == before


def test_published_processors_are_never_restored(model):
    """What the published code does: set them and leave."""
    from diffusers.models.attention_processor import AttnProcessor

    before, originals = traces(model.unet), model.unet.attn_processors
    model.unet.set_attn_processor(AttnProcessor())
    assert traces(model.unet) != before
    model.unet.set_attn_processor(originals)
    assert traces(model.unet) == before


def test_unet_without_cross_attention_is_refused():
    with (
        pytest.raises(ModelError, match="Sequential has no cross-attention layers"),
        guided_unet(torch.nn.Sequential(torch.nn.Linear(1, 1)), ForwardState()),
    ):
        pass


def test_attention_moves_into_the_regions(model):
    scene = scene_of(model)
    shares = []
    for guided in (without_layout(scene), scene):
        recorder = AttentionRecorder([(row,) for row in ROWS], (16, 24))
        model.sample(guided, SETTINGS, observer=recorder.observe)
        heat = recorder.heat_maps()
        shares.append([share_inside(heat[k], region.mask) for k, region in enumerate(mug_and_dog().regions)])
    for without, with_layout in zip(*shares, strict=True):
        assert with_layout > without + 0.2


def test_reduced_precision_stays_finite(model):
    low = tiny_model()
    for part in (low.text.encoders, low.unet, low.vae):
        part.to(torch.bfloat16)
    scene = scene_of(low)
    assert scene.positive.embeds.dtype == torch.bfloat16
    latents = low.sample(scene, SETTINGS)
    assert latents.dtype == torch.float32 and torch.isfinite(latents).all()
    exact = model.sample(scene_of(model), SETTINGS)
    assert float((latents - exact).abs().mean()) < 0.1 * float(exact.abs().mean())


def test_two_token_residual_covers_its_phrase(model):
    text = "a pet cat and a dog"
    tensor = torch.arange(2.0 * WIDTH).view(2, WIDTH) + 1
    plain, changed = (compose(model, text, residuals) for residuals in ([], [make_residual("pet cat", tensor)]))
    assert torch.allclose((changed.positive.embeds - plain.positive.embeds)[0, 2:4], tensor, atol=1e-5)
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        tensor.reshape(WIDTH)  # the published use of a residual


def test_compose_names_what_does_not_fit(model):
    with pytest.raises(ResidualError, match="1024"):
        compose(model, PROMPT, [make_residual("dog", torch.ones(1, 1024))])
    cat = layout_from_boxes([Box(0, 0, 1, 1)], ["cat"], 8, 8)
    with pytest.raises(PromptError, match="mug, and, dog"):
        compose(model, PROMPT, [], cat)
    with pytest.raises(PromptError, match="mug, and, dog"):
        compose(model, PROMPT, [make_residual("cat", torch.ones(1, WIDTH))])


def test_a_residual_goes_to_the_occurrence_it_names(model):
    second = make_residual("dog", torch.ones(1, WIDTH)).with_reference(PhraseRef("dog", 2))
    plain, changed = (compose(model, "a dog and a dog", residuals).positive.embeds for residuals in ([], [second]))
    assert (changed - plain)[0].abs().amax(-1).nonzero().flatten().tolist() == [5]


def test_without_a_layout_nothing_is_guided(model):
    assert compose(model, PROMPT).terms == ()


def test_numbers_reach_the_guidance(model):
    numbers = GuidanceSettings(guidance_weight=0.1, outside_weight=-3.0, outside_mode="others")
    term = layout_bias(compose(model, PROMPT, layout=mug_and_dog(), guidance=numbers))
    assert term.guidance_weight == 0.1
    assert float(term.maps.at(16, 24).min()) == pytest.approx(-3)


@pytest.mark.parametrize(("height", "width"), [(0, 16), (25, 32), (32, 47), (-32, 32), (2, 2), (32, 6)])
def test_sizes_must_fit_the_unet(model, height, width):
    scene = scene_of(model)
    with pytest.raises(ModelError, match=f"{width}x{height}"):
        model.sample(without_layout(scene), replace(SETTINGS, height=height, width=width))


def test_halves_must_be_of_one_length(model):
    with pytest.raises(ModelError, match="encode them together"):
        model.sample(Scene(Conditioning(torch.zeros(1, 77, WIDTH)), Conditioning(torch.zeros(1, 154, WIDTH))), SETTINGS)


def test_published_encoding_is_one_chunk(model):
    long = "the house near " * 40
    encoded, negative = model.encode_prompts(long, "", format=PromptFormat.FIRST_CHUNK)
    assert encoded.conditioning.embeds.shape == negative.conditioning.embeds.shape == (1, 77, WIDTH)
    assert [token.index for token in encoded.tokens.tokens] == list(range(1, 76))
    short, unprompted = model.encode_prompts("A dog, a cat.", "", format=PromptFormat.UNPADDED)
    assert short.conditioning.embeds.shape == unprompted.conditioning.embeds.shape == (1, 6, WIDTH)
    assert [word for word, _ in words(short.tokens)] == ["a", "dog", ",", "a"]


def test_decoded_pictures(model):
    scene = scene_of(model)
    latents = model.sample(without_layout(scene), replace(SETTINGS, seeds=(0, 1), steps=1))
    decoded = model.decode(latents)
    assert decoded.shape == (2, 3, 32, 48)
    assert torch.allclose(decoded[1:], model.decode(latents[1:]), atol=1e-5)
    pictures = to_images(decoded)
    assert [picture.size for picture in pictures] == [(48, 32)] * 2
    extremes = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert [to_images(extremes)[0].getpixel((x, 0))[0] for x in range(5)] == [0, 0, 128, 255, 255]
