"""Sampling as a whole: every number of steps is finite, and no item depends on its neighbours."""

import pytest
import torch

from dynamicrafter import draws
from dynamicrafter.diffusion.guidance import batched, guided
from dynamicrafter.diffusion.sampler import ddim
from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, ddim_timesteps
from dynamicrafter.model.unet import UNet

from . import adapter, golden

PLAIN = ScheduleConfig()
TERMINAL = ScheduleConfig(parameterization="v", zero_snr=True, base_scale=0.7)
SHAPE = (4, 4, 16, 16)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param((*range(1, 12), 25, 50, 99, 250), id="some"),
        pytest.param(range(1, 251), id="all", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing"])
@pytest.mark.parametrize("config", [PLAIN, TERMINAL], ids=["eps", "v-zero-snr"])
def test_every_number_of_steps_from_1_to_250_is_finite(config, spacing, eta, counts):
    schedule = Schedule(config)
    start, noise = torch.randn(2, 1, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for steps in counts:
        value = ddim(
            lambda x, t: 0.9 * torch.tanh(x) + 0.1,
            start,
            lambda step: noise,
            schedule=schedule,
            timesteps=ddim_timesteps(spacing, steps),
            eta=eta,
        )
        assert torch.isfinite(value).all(), steps


SLOW, SAMPLE = pytest.mark.slow, pytest.mark.sample


@pytest.mark.parametrize(
    ("name", "config", "spacing", "rescale", "steps"),
    [
        pytest.param("unet_256style", PLAIN, "uniform", 0.0, 50, marks=SLOW),
        ("unet_512style", TERMINAL, "uniform_trailing", 0.7, 5),
        pytest.param("unet_512style", TERMINAL, "uniform_trailing", 0.7, 50, marks=[SLOW, SAMPLE]),
    ],
    ids=["256", "512-few-steps", "512"],
)
@torch.no_grad()
def test_an_item_comes_out_the_same_alone_and_in_a_batch_of_four(
    name, config, spacing, rescale, steps
):
    """Guided steps at eta 1; the difference is that of sums in another order."""
    unet = UNet(adapter.unet_config(golden.config(name)["params"]))
    unet.load_state_dict(golden.state_dict(f"{name}.weights"))
    unet.eval()

    def rows(items, what, shape):
        return torch.stack([draws.normal(1, item, what, shape) for item in items])

    def sample(items):
        context = torch.cat([rows(items, what, (141, 64)) for what in ("context", "empty")])
        condition = rows(items, "condition", SHAPE).repeat(2, 1, 1, 1, 1)
        fs = torch.tensor([3, 5, 9, 24])[items].repeat(2)
        both = batched(lambda x, t: unet(torch.cat([x, condition], dim=1), t, context, fs), 2)
        return ddim(
            guided(both, scale=7.5, rescale=rescale),
            rows(items, "start", SHAPE),
            lambda step: rows(items, f"step-{step}", SHAPE),
            schedule=Schedule(config),
            timesteps=ddim_timesteps(spacing, steps),
        )

    together = sample([0, 1, 2, 3])
    for item in (0, 3):
        alone = sample([item])[0]
        assert (alone - together[item]).abs().max() <= 2e-5 * together[item].abs().max()
