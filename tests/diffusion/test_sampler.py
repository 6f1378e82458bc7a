"""DDIM and guidance against closed forms."""

import pytest
import torch

from dynamicrafter.diffusion.guidance import guide, guided, rescale_guidance
from dynamicrafter.diffusion.objective import x0_and_eps_from_v
from dynamicrafter.diffusion.sampler import ddim
from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, ddim_timesteps

TERMINAL = Schedule(ScheduleConfig(parameterization="v", zero_snr=True))
# Step counts at which rounding in fp32 makes the official sampler return NaN at eta 1.
HARD_STEPS = [7, 11, 14, 15, 20, 25, 33, 34, 35, 37, 38, 39, 62, 63, 64]


def exact(schedule, clean):
    """The exact denoiser of data that is one point, in either parameterization."""

    def denoiser(x, t):
        signal, sigma = schedule.signal_and_noise(t, x)
        if schedule.config.parameterization == "v":
            return (signal * x - clean) / sigma
        return (x - signal * clean) / sigma

    return denoiser


@pytest.mark.parametrize("parameterization", ["eps", "v"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_exact_denoiser_ends_at_the_clean_latents(parameterization, eta):
    """What is left is the noise level of the schedule's first entry."""
    schedule = Schedule(ScheduleConfig(parameterization=parameterization))
    generator = torch.Generator().manual_seed(0)
    clean, x = torch.randn(2, 2, 4, 2, 16, 16, generator=generator)
    seen = []
    value = ddim(
        exact(schedule, clean),
        x,
        lambda step: torch.randn(x.shape, generator=generator),
        schedule=schedule,
        timesteps=ddim_timesteps("uniform", 50),
        eta=eta,
        on_step=lambda step, x_prev, x0: seen.append((step, x0)),
    )
    assert [step for step, _ in seen] == list(range(50))
    assert torch.allclose(seen[-1][1], clean, atol=1e-4)
    signal, power = schedule.alphas_cumprod[0].sqrt().float(), 0.00085
    assert ((value - signal * clean).var() / power).item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("steps", HARD_STEPS)
def test_eta_one_at_zero_terminal_snr_is_finite(steps):
    x = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    value = ddim(
        exact(TERMINAL, torch.zeros_like(x)),
        x,
        lambda step: torch.ones_like(x),
        schedule=TERMINAL,
        timesteps=ddim_timesteps("uniform_trailing", steps),
    )
    assert torch.isfinite(value).all()


def test_no_noise_is_asked_for_at_eta_zero():
    def refuse(step):
        raise AssertionError("noise was drawn")

    x = torch.ones(1, 1, 1, 2, 2)
    ddim(
        exact(TERMINAL, x),
        x,
        refuse,
        schedule=TERMINAL,
        timesteps=ddim_timesteps("uniform", 5),
        eta=0.0,
    )


def test_pure_noise_is_all_eps_at_the_terminal_step():
    x, v = torch.randn(2, 1, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x0, eps = x0_and_eps_from_v(TERMINAL, x, torch.tensor([999]), v)
    assert torch.equal(x0, -v)
    assert torch.equal(eps, x)


def test_guidance_in_closed_form():
    c, u, i = (torch.full((1, 2), value) for value in (5.0, 1.0, 2.0))
    assert guide(torch.stack([c, u]), 1.0).tolist() == c.tolist()
    assert guide(torch.stack([c, u]), 7.5).tolist() == [[31.0, 31.0]]
    assert guide(torch.stack([c, u, i]), 7.5, 3.0).tolist() == [[26.5, 26.5]]
    equal = guide(torch.stack([c, u, i]), 7.5, 7.5)
    assert equal.tolist() == [[31.0, 31.0]]


def test_full_rescale_takes_the_deviation_of_the_conditional_output():
    branches = torch.randn(2, 3, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    denoiser = guided(lambda x, t: branches, scale=7.5, rescale=1.0)
    value = denoiser(branches[0], torch.zeros(3))
    assert torch.allclose(value.flatten(1).std(1), branches[0].flatten(1).std(1), rtol=1e-5)
    assert torch.equal(rescale_guidance(value, branches[0], 0.0), value)
