"""Targets and condition dropout against closed forms."""

import pytest
import torch

from dynamicrafter.diffusion import objective
from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig

T = torch.tensor([0, 17, 500, 998])
CLEAN = torch.randn(4, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(4, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("parameterization", ["eps", "v"])
def test_the_target_gives_clean_latents_and_noise_back(parameterization):
    schedule = Schedule(ScheduleConfig(parameterization=parameterization, base_scale=0.7))
    noisy, target = objective.training_pair(schedule, CLEAN, T, NOISE)
    x0, eps = objective.x0_and_eps(schedule, noisy, T, target)
    factors = 1 - 0.3 * T.clamp(max=399) / 399
    assert torch.allclose(x0, CLEAN * factors.view(-1, 1, 1, 1, 1), atol=1e-4)
    assert torch.allclose(eps, NOISE, atol=1e-5)


def test_dropout_regions_and_their_edges():
    draw = torch.tensor([0.0, 0.049, 0.05, 0.0999, 0.10, 0.1499, 0.15, 0.5, 0.999])
    text, image = objective.dropped_conditions(draw)
    assert text.tolist() == [True] * 4 + [False] * 5
    assert image.tolist() == [False] * 2 + [True] * 4 + [False] * 3


def test_dropped_samples_are_replaced_and_others_kept():
    values = torch.arange(6.0).reshape(2, 3)
    result = objective.replace_dropped(values, torch.tensor([True, False]), torch.zeros(1, 3))
    assert result.tolist() == [[0, 0, 0], [3, 4, 5]]


def test_condition_latents():
    repeated = objective.repeat_frame(CLEAN, torch.tensor([0, 1, 2, 1]))
    for sample, index in enumerate((0, 1, 2, 1)):
        for frame in range(3):
            assert torch.equal(repeated[sample, :, frame], CLEAN[sample, :, index])
    ends = objective.keep_ends(CLEAN)
    assert torch.equal(ends[:, :, ::2], CLEAN[:, :, ::2])
    assert ends[:, :, 1].abs().max() == 0


def test_losses_are_one_mean_a_sample_in_fp32():
    losses = objective.sample_losses(CLEAN.bfloat16(), CLEAN.bfloat16() + 2)
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, torch.full((4,), 4.0), rtol=1e-2)
