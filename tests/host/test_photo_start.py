"""Starts from photos on the host, with every sampler and in every kind of run."""

import pytest

from tests.host.client.worker import HostError, HostWorker

SD1 = "sd15_short"
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", [SD1, "sd21_short", "sdxl_short"])
def test_the_noise_holds_the_photo_in_its_region_and_nothing_elsewhere(in_host: HostWorker, name: str) -> None:
    found = in_host.photo_start.shift(needs=(name,), name=name)
    assert found["error"] < 10 * TOLERANCE and found["outside"]  # rounding of noise that is added and taken off
    assert found["warnings"] == ["photo_start: no cut-out of mug, which starts from noise"]


# One of each kind: plain, stochastic, with a history.
@pytest.mark.parametrize(
    "name",
    [pytest.param("euler", marks=pytest.mark.slow), "dpmpp_2m_sde", pytest.param("uni_pc", marks=pytest.mark.slow)],
)
def test_it_works_with_every_kind_of_sampler_and_both_nodes(in_host: HostWorker, name: str) -> None:
    found = in_host.photo_start.samplers(needs=(SD1,), name=SD1, sampler_names=[name])[name]
    assert found["same"] and found["off"] and found["finite"]
    assert found["moved"] > 1e-3
    assert name == "uni_pc" or found["custom"] < TOLERANCE  # KSampler gives uni_pc other noise levels


def test_photos_and_presets_count_for_a_layout_that_the_prompt_carries(in_host: HostWorker) -> None:
    for what, one in in_host.photo_start.carried(needs=(SD1,), name=SD1).items():
        assert one["same"] and one["moved"] > 1e-3, what


def test_recurrence_draws_the_noise_it_draws_without_photos(in_host: HostWorker) -> None:
    assert in_host.photo_start.recurrence_noise(needs=(SD1,), name=SD1) < 1e-3


def test_the_pictures_of_a_batch_take_the_photos_in_turn(in_host: HostWorker) -> None:
    found = in_host.photo_start.batch(needs=(SD1,), name=SD1)
    assert found["another photo"] > 0.1 and found["in turn"] < TOLERANCE


def test_a_run_that_begins_from_a_picture_stays_as_it_is_and_says_so(in_host: HostWorker) -> None:
    found = in_host.photo_start.pictures(needs=(SD1,), name=SD1)
    assert found["denoise"]
    assert found["said"] == ["photo_start does nothing in this run: it begins from a picture, not from noise"]
    assert found["empty"] > 1e-3  # a lower noise level over nothing is a start from noise


def test_an_inpainting_mask_keeps_photos_out_of_what_it_protects(in_host: HostWorker) -> None:
    found = in_host.photo_start.pictures(needs=(SD1,), name=SD1)
    assert found["kept"] < TOLERANCE and found["kept start"] and found["changed start"] > 1e-3


def test_looking_at_a_finished_picture_starts_from_no_photo(in_host: HostWorker) -> None:
    assert in_host.photo_start.heat_maps(needs=(SD1,), name=SD1)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("without_vae", "ModelError: photo_start needs a VAE to encode the photos"),
        ("without_cutouts", "ResidualError: photo_start needs cut-outs, and no subject of the layout has one"),
        ("other_vae", r"ModelError: the VAE at photo_start makes latents of \(16, 12, 16\) but this model has"),
    ],
)
def test_mistakes_are_one_sentence(in_host: HostWorker, mistake: str, message: str) -> None:
    with pytest.raises(HostError, match=message):
        getattr(in_host.photo_start, mistake)(needs=(SD1,), name=SD1)


@pytest.mark.parametrize(
    ("image", "mask", "sizes"),
    [
        ([2, 40, 60, 3], None, [[40, 60]] * 2),
        ([1, 40, 60, 4], None, [[40, 30]]),
        ([2, 40, 60, 1], [1, 40, 60], [[40, 60]] * 2),
    ],
)
def test_load_residual_takes_photos(in_host: HostWorker, image: list[int], mask: list[int], sizes: list) -> None:
    assert in_host.photo_start.loaded(image=image, mask=mask) == sizes


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ([7, 8, 8, 3], None, "photo has 7 pictures: at most 6"),
        ([2, 8, 8, 3], [3, 8, 8], "give one mask of the same size"),
        ([1, 8, 8, 3], [1, 9, 8], "give one mask of the same size"),
        ([1, 8, 8, 2], None, "photo has 2 channels"),
    ],
)
def test_photos_that_cannot_be_used_are_refused(
    in_host: HostWorker, image: list[int], mask: list[int], message: str
) -> None:
    with pytest.raises(HostError, match=f"ResidualError: .*{message}"):
        in_host.photo_start.loaded(image=image, mask=mask)
