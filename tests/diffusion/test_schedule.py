"""Every length of DDIM timestep list, and schedules that cannot work."""

import numpy as np
import pytest
import torch

from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, ddim_timesteps
from dynamicrafter.errors import InputError


def published_rule(spacing, steps):
    """The official lists, which may be too long or leave 0..999."""
    if spacing == "uniform":
        return np.arange(0, 1000, 1000 // steps) + 1
    return np.flip(np.round(np.arange(1000, 0, -(1000 / steps)))).astype(np.int64) - 1


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing"])
def test_timesteps_for_every_number_of_steps(spacing):
    equal = 0
    for steps in range(1, 1001):
        value = ddim_timesteps(spacing, steps).numpy()
        assert len(value) == steps
        assert value[0] >= 0
        assert value[-1] <= 999
        assert (np.diff(value) > 0).all()
        official = published_rule(spacing, steps)
        if len(official) == steps and official[0] >= 0 and official[-1] <= 999:
            assert np.array_equal(value, official)
            equal += 1
    assert equal == {"uniform": 15, "uniform_trailing": 938}[spacing]


@pytest.mark.parametrize(("spacing", "steps"), [("quad", 5), ("uniform", 0), ("uniform", 1001)])
def test_refused_timesteps(spacing, steps):
    with pytest.raises(InputError):
        ddim_timesteps(spacing, steps)


def test_zero_terminal_snr():
    schedule = Schedule(ScheduleConfig(parameterization="v", zero_snr=True))
    assert schedule.alphas_cumprod[-1] == 0
    assert schedule.alphas_cumprod[0] == pytest.approx(1 - 0.00085, abs=1e-12)
    assert schedule.alphas_cumprod[500] == pytest.approx(0.24101879, abs=1e-8)


def test_schedules_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="eps cannot be predicted"):
        ScheduleConfig(zero_snr=True)
    with pytest.raises(InputError, match="eps or v"):
        ScheduleConfig(parameterization="x0")


def test_the_tables_are_real_even_while_a_model_is_built_on_meta():
    with torch.device("meta"):
        schedule = Schedule(ScheduleConfig(base_scale=0.7))
    assert schedule.alphas_cumprod.device.type == schedule.scale.device.type == "cpu"
