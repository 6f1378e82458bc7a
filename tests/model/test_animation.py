"""The composed model: configuration from a plain dict, its switches, and sampling with it."""

import pytest
import torch

from dynamicrafter import draws
from dynamicrafter.diffusion.guidance import batched, guided
from dynamicrafter.diffusion.sampler import ddim
from dynamicrafter.diffusion.schedule import ddim_timesteps
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig
from tests.model.tiny import build, tree

FRAMES = 2


@pytest.fixture(scope="module")
def model():
    return build(tree())


def test_configuration_from_plain_dicts():
    config = AnimationConfig.from_dict(tree())
    assert config.unet.channel_mult == (1, 2)
    assert config.autoencoder.factor == 4
    assert AnimationConfig.from_dict({}).autoencoder.factor == 8
    with pytest.raises(InputError, match=r"model\.unet has no setting 'modelchannels'"):
        AnimationConfig.from_dict({"unet": {"modelchannels": 3}})
    with pytest.raises(InputError, match="model has no setting 'vae'"):
        AnimationConfig.from_dict({"vae": {}})
    with pytest.raises(InputError, match=r"resampler\.embedding_dim is 1280"):
        AnimationConfig.from_dict(tree(resampler={"output_dim": 32}))
    with pytest.raises(InputError, match=r"model\.unet is None"):
        AnimationConfig.from_dict({"unet": None})
    with pytest.raises(InputError, match="expected embed_dim"):
        AnimationConfig.from_dict(tree(clip={"embed_dim": 8}))
    with pytest.raises(InputError, match="ViT-none"):
        AnimationConfig.from_dict(tree(clip="ViT-none"))


@pytest.mark.parametrize(("context", "tokens"), [("full", 16 * FRAMES), ("global", 4), ("none", 0)])
def test_image_streams(context, tokens):
    model = build(tree(context=context))
    text = model.encode_prompts(["a bear", ""])
    image_tokens = None
    if context == "none":
        absent = ("_ip.", "embedder.", "image_proj_model.")
        assert not any(part in name for name in model.state_dict() for part in absent)
    else:
        features = model.image_features(torch.zeros(2, 3, 40, 56))
        assert not features.requires_grad
        image_tokens = model.image_tokens(features)
        assert image_tokens.requires_grad
    value = model.context(text, image_tokens)
    assert value.shape == (2, 77 + tokens, 32)
    out = model.denoiser(value, condition=torch.zeros(2, 4, FRAMES, 8, 8))(
        torch.zeros(2, 4, FRAMES, 8, 8), torch.tensor([1, 999])
    )
    assert out.shape == (2, 4, FRAMES, 8, 8)


@torch.no_grad()
def test_bf16_autocast_stays_near_fp32(model):
    images = draws.normal(0, 0, "image", (2, 3, 32, 32)).tanh()
    noise = draws.normal(0, 0, "noise", (2, 4, 1, 8, 8))

    def outputs():
        return (
            model.encode_prompts(["a bear", ""]),
            model.image_tokens(model.image_features(images)),
            model.decode_latents(model.encode_frames(images.unsqueeze(2), noise)),
        )

    expected = outputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = outputs()
    # Encoding and decoding in a row, with random weights, doubles what bf16 loses.
    for value, reference, bound in zip(values, expected, (0.03, 0.03, 0.06), strict=True):
        assert (value.float() - reference).norm() / reference.norm() < bound


def test_only_unet_and_image_projection_train(model):
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"model", "image_proj_model"}


def test_chunks_do_not_change_latents_or_frames(model):
    shape = model.latent_shape(3, 32, 48)
    assert shape == (4, 3, 8, 12)
    video = draws.normal(0, 0, "video", (2, 3, 3, 32, 48)).tanh()
    noise = draws.normal(0, 0, "noise", (2, *shape))
    z = model.encode_frames(video, noise)
    assert torch.allclose(model.encode_frames(video, noise, frames_per_call=4), z, atol=1e-5)
    mean, logvar = model.first_stage_model.moments(video[1, :, 2][None])
    expected = 0.18215 * (mean + (0.5 * logvar).exp() * noise[1, :, 2])
    assert torch.allclose(z[1, :, 2], expected[0], atol=1e-5)
    frames = model.decode_latents(z)
    assert frames.shape == video.shape
    assert torch.allclose(model.decode_latents(z, frames_per_call=1), frames, atol=1e-5)
    with pytest.raises(InputError, match="multiple of 8"):
        model.latent_shape(3, 36, 48)


@torch.no_grad()
def test_guided_sampling_is_one_call_a_step_and_independent_of_the_batch(model):
    """Each item of a batch comes out as it does alone, and the branches as if run one by one."""
    latents = (4, FRAMES, 8, 8)
    start, condition = (
        torch.stack([draws.normal(7, n, name, latents) for n in (0, 1)]) for name in ("x", "c")
    )
    images = torch.stack([draws.normal(7, n, "image", (3, 32, 32)).tanh() for n in (0, 1)])
    text, empty = model.encode_prompts(["a bear", "a boat"]), model.encode_prompts(["", ""])
    tokens = model.image_tokens(model.image_features(images))
    blank = model.image_tokens(model.image_features(torch.zeros_like(images)))
    contexts = [model.context(*pair) for pair in ((text, tokens), (empty, blank), (empty, tokens))]
    fs = torch.tensor([3, 24])
    calls = []

    def sample(items):
        bound = model.denoiser(
            torch.cat([context[items] for context in contexts]),
            fs[items].repeat(3),
            condition[items].repeat(3, 1, 1, 1, 1),
        )

        def counted(x, t):
            calls.append(len(x))
            return bound(x, t)

        return ddim(
            guided(batched(counted, 3), scale=7.5, image_scale=2.0, rescale=0.7),
            start[items],
            lambda step: torch.stack([draws.normal(7, n, f"noise{step}", latents) for n in items]),
            schedule=model.schedule,
            timesteps=ddim_timesteps("uniform_trailing", 4),
        )

    both = sample([0, 1])
    assert calls == [6] * 4
    alone = torch.cat([sample([0]), sample([1])])
    assert (both - alone).abs().max() / both.abs().max() < 1e-4

    bound = [model.denoiser(context, fs, condition) for context in contexts]
    t = torch.tensor([999, 999])
    together = batched(
        model.denoiser(torch.cat(contexts), fs.repeat(3), condition.repeat(3, 1, 1, 1, 1)), 3
    )(start, t)
    assert torch.allclose(together, torch.stack([one(start, t) for one in bound]), atol=1e-5)
