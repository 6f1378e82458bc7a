"""Schedules, conversions and whole DDIM trajectories against the official figures."""

import pytest
import torch

from dynamicrafter.diffusion.objective import training_pair
from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, official_buffers

from . import adapter, golden

EXEMPT_BUFFERS = {"lvlb_weights"}  # belongs to a loss term of weight zero
ANALYTIC = [
    name
    for name, run in golden.config("ddim_analytic")["runs"].items()
    if "mask" not in run and "temperature" not in run
]
WITH_UNET = list(golden.config("ddim_unet")["runs"])


@pytest.mark.parametrize("name", ["plain_eps", "zsnr_v"])
def test_schedule_buffers(name):
    prefix = f"{name}."
    figures = golden.tensors("schedules")
    expected = {k.removeprefix(prefix) for k in figures if k.startswith(prefix)} - EXEMPT_BUFFERS
    buffers = adapter.schedule(name)
    assert set(buffers) == expected
    for key in expected:
        golden.assert_close(buffers[key], figures[prefix + key], golden.SCHEDULE)


@pytest.mark.parametrize(("name", "zero_snr"), [("plain", False), ("zsnr", True)])
def test_schedule_in_double_precision(name, zero_snr):
    schedule = Schedule(ScheduleConfig(parameterization="v", zero_snr=zero_snr))
    figures = golden.tensors("schedules")
    golden.assert_close(schedule.betas, figures[f"{name}.betas_f64"], 1e-13)
    golden.assert_close(schedule.alphas_cumprod, figures[f"{name}.alphas_cumprod_f64"], 1e-13)


@pytest.mark.parametrize("base", [0.7, 0.3])
def test_dynamic_rescale(base):
    schedule = Schedule(ScheduleConfig(parameterization="v", zero_snr=True, base_scale=base))
    table = official_buffers(schedule)["scale_arr"]
    golden.assert_close(table, golden.tensors("schedules")[f"scale_arr.base{base}"], 1e-7)
    math = golden.tensors("diffusion_math")
    noisy, target = training_pair(schedule, math["in.x0"], math["in.t"], math["in.noise"])
    golden.assert_close(noisy, math[f"zsnr_v.base{base}.q_sample"], golden.SCHEDULE)
    golden.assert_close(target, math[f"zsnr_v.base{base}.v_target"], golden.SCHEDULE)


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing"])
def test_ddim_timesteps_where_the_official_list_has_the_asked_length(spacing):
    figures = golden.tensors("schedules")
    compared = 0
    for steps in (5, 10, 16, 20, 25, 30, 50, 60, 100):
        expected = figures[f"ddim_timesteps.{spacing}.{steps}"]
        if len(expected) == steps:
            assert torch.equal(adapter.ddim_timesteps(spacing, steps), expected)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("name", ["plain_eps", "zsnr_v"])
def test_conversions(name):
    figures = golden.tensors("diffusion_math")
    x0, noise, t, v = (figures[f"in.{key}"] for key in ("x0", "noise", "t", "v"))
    noisy = figures[f"{name}.q_sample"]
    values = {
        "q_sample": adapter.q_sample(name, x0, t, noise),
        "get_v": adapter.get_v(name, x0, t, noise),
        "predict_start_from_z_and_v": adapter.predict_start_from_z_and_v(name, noisy, t, v),
        "predict_eps_from_z_and_v": adapter.predict_eps_from_z_and_v(name, noisy, t, v),
    }
    for key, value in values.items():
        golden.assert_close(value, figures[f"{name}.{key}"], golden.SCHEDULE)


@pytest.mark.parametrize("dim", [32, 320])
def test_timestep_embedding(dim):
    figures = golden.tensors("diffusion_math")
    value = adapter.timestep_embedding(figures["timestep_embedding.t"], dim)
    golden.assert_close(value, figures[f"timestep_embedding.dim{dim}"], golden.NETWORK)


@pytest.mark.parametrize("amount", [0.3, 0.7, 1.0])
def test_guidance_rescale(amount):
    figures = golden.tensors("diffusion_math")
    value = adapter.rescale_cfg(
        figures["cfg_rescale.in_cfg"], figures["cfg_rescale.in_cond"], amount
    )
    golden.assert_close(value, figures[f"cfg_rescale.out_{amount}"], golden.SCHEDULE)


@pytest.mark.parametrize("name", ANALYTIC)
def test_ddim_with_a_closed_form_model(name):
    run, figures = golden.config("ddim_analytic")["runs"][name], golden.tensors("ddim_analytic")

    def net(x, t, shift):
        shift, t = (value.reshape(-1, 1, 1, 1, 1) for value in (shift, t.float() / 1000))
        return torch.sin(x + shift) * torch.cos(t) + 0.5 * t * x

    conds = tuple(figures[f"in.{key}"] for key in ("s_cond", "s_uncond", "s_uncond_img"))
    x_prev, pred_x0 = adapter.ddim(run, net, figures["in.x_T"], figures["in.noises"], conds)
    tolerance = golden.SCHEDULE if run["cfg"] == 1 else golden.GUIDED
    golden.assert_close(x_prev, figures[f"{name}.x_prev"], tolerance)
    golden.assert_close(pred_x0, figures[f"{name}.pred_x0"], tolerance)


@pytest.mark.parametrize("name", WITH_UNET)
def test_ddim_with_the_unet(name):
    run, figures = golden.config("ddim_unet")["runs"][name], golden.tensors("ddim_unet")
    weights = golden.state_dict("unet_256style.weights")
    params = golden.config("unet_256style")["params"]

    def net(x, t, context):
        x = torch.cat([x, figures["in.c_concat"]], dim=1)
        return adapter.unet(params, weights, x, t, context, figures["in.fs"])

    branches = [
        ("text", "image_tokens"),
        ("null_text", "null_image_tokens"),
        ("null_text", "image_tokens"),
    ]
    conds = tuple(torch.cat([figures[f"in.{k}"] for k in keys], dim=1) for keys in branches)
    x_prev, pred_x0 = adapter.ddim(run, net, figures["in.x_T"], figures["in.noises"], conds)
    golden.assert_close(x_prev, figures[f"{name}.x_prev"], golden.GUIDED)
    golden.assert_close(pred_x0, figures[f"{name}.pred_x0"], golden.GUIDED)
