"""Sampling with a layout: plain runs stay plain, nothing outlives a run, recurrence does what it says."""

from itertools import product

import pytest

from tests.host.client.worker import HostWorker

SD1 = "sd15_short"
TOLERANCE = 1e-5


@pytest.mark.parametrize(
    ("kind", "sampler"), [("empty", "dpmpp_2m_sde"), ("denoise", "uni_pc"), ("inpaint", "euler_ancestral")]
)
def test_without_guidance_the_nodes_are_the_stock_ksampler(in_host: HostWorker, kind: str, sampler: str) -> None:
    found = in_host.sampling.unguided(needs=(SD1,), name=SD1, kind=kind, sampler=sampler)
    assert found.pop("guided") > 1e-3
    assert found == dict.fromkeys(found, True)


def test_a_preset_gives_the_bits_of_its_numbers_whatever_the_widgets_say(in_host: HostWorker) -> None:
    found = in_host.sampling.presets(needs=(SD1,), name=SD1)
    assert found.pop("effect") > 1e-3
    assert found == dict.fromkeys(found, True)


def test_steps_cost_one_forward_each_and_two_with_recurrence(in_host: HostWorker) -> None:
    assert in_host.sampling.forwards(needs=(SD1,), name=SD1) == {
        "guided": 4,
        "second half recurrent": 6,
        "recurrent": 8,
        "half recurrent": 6,
        "recurrent without weight": 4,
        "more than all": 8,
    }


@pytest.mark.parametrize("guided_steps", [1, 4])
def test_recurrence_is_euler_then_the_chosen_sampler(in_host: HostWorker, guided_steps: int) -> None:
    found = in_host.recurrence.recurrence(needs=(SD1,), name=SD1, guided_steps=guided_steps)
    assert found["ksampler"] < TOLERANCE and found["custom"] < TOLERANCE


@pytest.mark.parametrize(("sigmas", "calls"), [([0.5, 2.0, 6.0], 2), ([5.0, 2.0, 4.0, 4.0, 1.0], 6)])
def test_only_steps_whose_noise_level_falls_are_repeated(in_host: HostWorker, sigmas: list[float], calls: int) -> None:
    found = in_host.recurrence.rising(needs=(SD1,), name=SD1, sigmas=sigmas)
    assert found["finite"] and found["calls"] == calls
    assert (found["once"] < TOLERANCE) == (calls == len(sigmas) - 1)


def test_a_recurrent_sampler_may_be_wrapped_again(in_host: HostWorker) -> None:
    assert in_host.recurrence.wrapped_again(needs=(SD1,), name=SD1) == {"in another pack": True, "twice": True}


def test_the_first_steps_of_a_rising_run_are_its_first(in_host: HostWorker) -> None:
    assert in_host.recurrence.first_steps_of_rising_run(needs=(SD1,), name=SD1) == [0]


def test_a_picture_of_a_batch_is_the_same_alone(in_host: HostWorker) -> None:
    found = in_host.recurrence.pictures_alone(needs=(SD1,), name=SD1)
    assert max(found.values()) < 10 * TOLERANCE  # a batch of one is multiplied in another order


def test_a_layout_that_does_not_reach_the_sampler_gives_one_warning(in_host: HostWorker) -> None:
    found = in_host.sampling.layout_lost(needs=(SD1,), name=SD1)
    assert found["both"] == found["heat maps"] == []
    expected = {
        "model only": "connect the conditioning output of Apply Layout Guidance",
        "joined": "Conditioning Concat keeps the layout of conditioning_to only",
        "conditioning only": "connect the model output of Apply Layout Guidance",
        "heat maps, conditioning only": "connect the model output of Apply Layout Guidance",
    }
    for case, advice in expected.items():
        assert len(found[case]) == 1 and advice in found[case][0], case
    assert found["calls"] == 3


def test_layout_steers_the_steps_it_was_asked_to(in_host: HostWorker) -> None:
    assert in_host.sampling.windows(needs=(SD1,), name=SD1) == {
        "all": [0, 1, 2, 3],
        "two steps": [0, 1],
        "steps win": [0, 1, 2],
        "first half": [0, 1],
        "second half": [2, 3],
    }


def test_nothing_of_a_run_stays(in_host: HostWorker, in_fresh_host: HostWorker) -> None:
    """After a finished, an interrupted and a failed run: no tensor alive, and a plain run as in a fresh process."""
    plain = []
    for how, error in (("finished", ""), ("interrupted", "InterruptProcessingException"), ("failed", "Stop")):
        found = in_host.sampling.runs_end(needs=(SD1,), name=SD1, how=how)
        assert found["error"] == error
        assert found["seen"] > 20 and found["alive"] == 0
        assert (found["options"], found["wrappers"]) == ([], [])
        plain.append(in_host.sampling.plain_run(name=SD1))
    fresh = in_fresh_host.sampling.plain_run(needs=(SD1,), name=SD1)
    assert plain == [fresh] * 3


FAST_SAMPLERS = ("dpm_fast", "uni_pc", "heunpp2", "sa_solver")


@pytest.mark.parametrize("sampler", FAST_SAMPLERS)
def test_sampler_takes_over_after_recurrence(in_host: HostWorker, sampler: str) -> None:
    """With one step left, which is the least a sampler can be given."""
    found = in_host.sampling.sampled_finite(needs=(SD1,),
        name=SD1, sampler=sampler, scheduler="normal", guided_steps=3,
    )  # fmt: skip
    assert found["guided"]["finite"] or not found["plain"]["finite"]


@pytest.mark.slow
def test_every_sampler_and_scheduler_ends_finite(in_host: HostWorker) -> None:
    samplers, schedulers = in_host.sampling.choices()
    assert len(samplers) > 40 and len(schedulers) > 8
    cases = [(sampler, "normal") for sampler in samplers] + [("euler", scheduler) for scheduler in schedulers]
    broken = []
    for (sampler, scheduler), (guided_steps, recurrence) in product(
        cases, ((2, True), (3, True), (-1, True), (-1, False))
    ):
        found = in_host.sampling.sampled_finite(needs=(SD1,),
            name=SD1, sampler=sampler, scheduler=scheduler, guided_steps=guided_steps, recurrence=recurrence,
        )  # fmt: skip
        if found["plain"]["finite"] and not found["guided"]["finite"]:
            broken.append((sampler, scheduler, guided_steps, recurrence))
    assert broken == []
