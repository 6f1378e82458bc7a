"""FLOP and memory of a stage: counted figures of the released models, and closed forms."""

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

from dynamicrafter.model.pretrained import model_config
from tests.train.conftest import SMALL_MODEL
from train.plan import advice_for_oom, flops_per_clip
from train.plan.advice import Card, fitting, what_would_fit
from train.plan.flops import flop_rows, model_flop
from train.plan.ledger import run_forward
from train.plan.memory import Knobs, Workload, estimate, largest_microbatch
from train.plan.passes import encoder_passes, meta_model, weights

GROUPS = ("image_projector", "image_cross_attention_kv", "spatial", "lambda_alpha")
WORK = Workload(SMALL_MODEL, GROUPS, "diffusion", batch=8)
# TFLOP of the released models, counted elsewhere: the U-Net's forward pass on 16 frames, and the
# autoencoder's encoding of 16 frames.
COUNTED = {"256": (4.904, 4.364), "512": (12.603, 11.038), "1024": (52.336, 41.746)}


@pytest.mark.parametrize("size", list(COUNTED))
def test_the_forward_passes_of_the_released_models_cost_what_was_counted(size):
    config = model_config(f"dynamicrafter_{size}")
    unet_tflop, encode_tflop = COUNTED[size]
    model = meta_model(config, GROUPS, "bf16")
    shape = (1, 8, *model.latent_shape(16, *model.config.resolution)[1:])
    x, context = torch.zeros(shape, device="meta"), torch.zeros(1, 77 + 256, 1024, device="meta")
    t = torch.zeros(1, dtype=torch.long, device="meta")
    unet = run_forward(model.unet, lambda: model.unet(x, t, context, t), lowered=True)
    # The text's keys and values are projected once a clip here and once a frame there: 1.2 %.
    assert unet.flop / 1e12 == pytest.approx(unet_tflop, rel=0.02)
    encoders = encoder_passes(config, "bf16")
    assert 16 * encoders["autoencoder"].flop / 1e12 == pytest.approx(encode_tflop, rel=0.01)
    assert encoders["image_encoder"].flop / 1e12 == pytest.approx(0.3346, rel=0.01)
    assert encoders["text_encoder"].flop / 1e12 == pytest.approx(0.0451, rel=0.01)


def test_the_query_transformer_costs_what_was_counted():
    model = meta_model(model_config("dynamicrafter_512"), GROUPS, "bf16")
    features = torch.zeros(1, 257, 1280, device="meta")
    found = run_forward(model.image_proj_model, lambda: model.image_tokens(features), lowered=True)
    assert found.flop / 1e12 == pytest.approx(0.0297, rel=0.01)


def test_frozen_groups_make_the_backward_pass_cheaper():
    everything = (*GROUPS, "temporal_transformer", "temporal_conv", "temporal_init_attn")
    whole, part = flop_rows(replace(WORK, trainable=everything)), flop_rows(WORK)
    assert whole["U-Net forward"] == part["U-Net forward"]
    assert part["U-Net backward"] < whole["U-Net backward"]
    assert whole["U-Net backward"] == pytest.approx(2 * whole["U-Net forward"], rel=0.05)


def test_the_flop_for_the_mfu_leave_encoders_and_recomputing_out():
    rows = flop_rows(WORK, "full")
    own = [flop for name, flop in rows.items() if name.endswith(("forward", "backward"))]
    assert model_flop(WORK) == sum(own)
    assert 0 < rows["recomputed"] < rows["U-Net forward"]


@pytest.mark.parametrize(("averaged", "each"), [(False, 16), (True, 20)])
def test_a_trained_parameter_costs_sixteen_bytes_and_four_more_with_an_average(averaged, each):
    work = replace(WORK, averaged=averaged)
    kept = weights(SMALL_MODEL, GROUPS, "bf16")
    found = estimate(work, Knobs(8)).phases["optimize"]
    assert found == each * kept.trained + sum(kept.frozen.values())


def test_offloaded_encoders_are_away_while_the_unet_trains():
    kept = weights(SMALL_MODEL, GROUPS, "bf16").frozen
    encoders = sum(kept[name] for name in ("autoencoder", "image_encoder", "text_encoder"))
    here, away = (estimate(WORK, Knobs(8, "none", offload)).phases for offload in (False, True))
    assert here["train"] - away["train"] == encoders
    assert here["encode: autoencoder"] == away["encode: autoencoder"]


def test_memory_grows_by_the_same_bytes_with_every_clip():
    work = replace(WORK, batch=16)
    peaks = [estimate(work, Knobs(size)).phases["train"] for size in (2, 4, 8)]
    assert peaks[2] - peaks[1] == 2 * (peaks[1] - peaks[0])


def test_sharding_divides_weights_gradients_and_moments():
    kept = weights(SMALL_MODEL, GROUPS, "fp32")
    divided = 16 * kept.trained
    divided += sum(kept.frozen.get(part, 0) for part in ("unet", "image_projector"))
    two, four = (
        estimate(WORK, Knobs(1, gpus=n, parallel="fsdp")).phases["optimize"] for n in (2, 4)
    )
    assert two - four == pytest.approx(divided / 4, abs=8)


def test_gradients_of_earlier_microbatches_are_there():
    once, often = (estimate(replace(WORK, batch=n), Knobs(2)).phases for n in (2, 4))
    gradients = 4 * weights(SMALL_MODEL, GROUPS, "bf16").trained
    assert often["encode: text_encoder"] - once["encode: text_encoder"] == gradients


def test_the_largest_microbatch_fits_and_the_next_does_not():
    limit = estimate(WORK, Knobs(4)).needed
    assert largest_microbatch(WORK, Knobs(1), limit) == 4
    assert largest_microbatch(WORK, Knobs(1), limit - 1) == 2
    assert largest_microbatch(WORK, Knobs(1), 1000) == 0


def test_what_fits_is_fastest_first_and_ways_out_are_named():
    roomy = fitting(WORK, Card(80, "", 989.0), Knobs(1), mfu=0.1)
    assert (roomy.knobs.microbatch, roomy.knobs.recompute) == (8, "none")
    small = Card(0, "", 989.0)
    assert fitting(WORK, small, Knobs(1), mfu=0.1) is None
    (least,) = what_would_fit("joint", WORK, small, gpus=1)
    assert least.startswith("the least is 0.")


def config_of(**settings):
    stage = {"model": {}, "trainable": list(GROUPS), "objective": "diffusion", "batch": 8}
    base = {"precision": "bf16", "microbatch": None, "recompute": "none", "offload": False}
    recipe = {"stages": ["joint"], "joint": stage}
    plain = {"model": SMALL_MODEL, "recipe": recipe, "parallel": "auto", **base, **settings}
    return OmegaConf.create(plain)


def test_out_of_memory_ends_in_the_estimate_and_what_lower_settings_need():
    line = advice_for_oom(config_of(), "joint", "CUDA out of memory. Tried to allocate 2 GiB.")
    need = {
        knobs: f"{estimate(WORK, knobs).needed / 2**30:.1f} GiB"
        for knobs in (Knobs(8), Knobs(4), Knobs(8, "full"))
    }
    assert line.startswith(
        f"stage joint ran out of memory (CUDA out of memory): estimated {need[Knobs(8)]} at "
        "microbatch=8 recompute=none offload=false; "
    )
    assert f"microbatch=4 {need[Knobs(4)]}" in line
    assert f"recompute=full {need[Knobs(8, 'full')]}" in line
    assert "\n" not in line


def test_out_of_memory_at_the_lowest_settings_says_so():
    config = config_of(microbatch=1, recompute={"joint": "full"}, offload=True)
    assert "nothing is left to lower" in advice_for_oom(config, "joint", "no memory")


def test_the_loop_gets_the_flop_of_a_clip():
    assert flops_per_clip(config_of(), "joint") == model_flop(WORK)
