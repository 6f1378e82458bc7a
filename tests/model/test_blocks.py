"""Single blocks against the figures of their official classes, and norms at low precision."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dynamicrafter.model import frame_attention
from dynamicrafter.model.attention import SpatialTransformer
from dynamicrafter.model.blocks import Downsample, ResBlock, Upsample
from dynamicrafter.model.layers import GroupNorm, LayerNorm
from dynamicrafter.model.temporal import TemporalConvBlock, TemporalTransformer

GOLDEN = Path(__file__).parents[1] / "golden" / "model"
FIGURES = load_file(GOLDEN / "blocks.safetensors")
WEIGHTS = load_file(GOLDEN / "blocks.weights.safetensors")


def spatial_transformer():
    return SpatialTransformer(64, 48, heads=4, image=True, learned_gate=True)


def clips():
    return FIGURES["in.x_bcthw"].flatten(3)  # [b, c, t, (h w)]


CASES = {
    "resblock": (
        lambda: ResBlock(64, 96, 128, 0.1, temporal=True),
        lambda: (FIGURES["in.x_bt"], FIGURES["in.emb_bt"], 4),
    ),
    "temporal_conv": (lambda: TemporalConvBlock(64, 0.1), lambda: (clips(),)),
    "spatial_transformer_alpha": (
        spatial_transformer,
        lambda: (FIGURES["in.x_bt"], *FIGURES["in.context_bt"].split([77, 16], dim=1)),
    ),
    "temporal_transformer": (
        lambda: TemporalTransformer(64, heads=4, head_dim=16),
        lambda: (clips(),),
    ),
    "temporal_init_attn": (
        lambda: TemporalTransformer(64, heads=8, head_dim=16, pointwise_conv=True),
        lambda: (clips(),),
    ),
    "downsample": (lambda: Downsample(64), lambda: (FIGURES["in.x_bt"],)),
    "upsample": (lambda: Upsample(64, 32), lambda: (FIGURES["in.x_bt"],)),
}


def load(name, build):
    prefix = f"{name}.sd."
    block = build().eval()
    block.load_state_dict(
        {k.removeprefix(prefix): v.float() for k, v in WEIGHTS.items() if k.startswith(prefix)}
    )
    return block


@pytest.mark.parametrize("name", list(CASES))
@torch.no_grad()
def test_block_meets_the_official_output(name):
    build, inputs = CASES[name]
    expected = FIGURES[f"{name}.out"]
    found = load(name, build)(*inputs()).reshape(expected.shape)
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= 2e-5


def test_attention_over_many_rows_is_split_without_a_trace(monkeypatch):
    qkv = torch.randn(2, 4, 5, 3 * 16, generator=torch.Generator().manual_seed(0))
    expected = frame_attention.attend_over_frames(qkv, heads=2)
    monkeypatch.setattr(frame_attention, "MAX_ROWS", 3)
    assert torch.allclose(frame_attention.attend_over_frames(qkv, heads=2), expected, atol=1e-6)


@torch.no_grad()
def test_a_stream_shared_by_all_frames_equals_one_repeated_for_every_frame():
    block = load("spatial_transformer_alpha", spatial_transformer)
    text, image = FIGURES["in.context_bt"][:2].split([77, 16], dim=1)
    repeated = (stream.repeat_interleave(4, dim=0) for stream in (text, image))
    x = FIGURES["in.x_bt"]
    assert torch.allclose(block(x, text, image), block(x, *repeated), atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "shape"), [(GroupNorm(64, 1e-6), (2, 64, 5, 5)), (LayerNorm(64), (2, 9, 64))]
)
def test_norms_of_bf16_are_exact_to_the_last_rounding(norm, shape):
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 30).bfloat16()
    exact = norm.double()
    if isinstance(norm, GroupNorm):
        expected = torch.nn.functional.group_norm(x.double(), 32, eps=norm.eps)
    else:
        expected = torch.nn.functional.layer_norm(x.double(), (64,), eps=norm.eps)
    out = exact.bfloat16()(x)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.double(), expected, rtol=2**-8, atol=1e-5)
