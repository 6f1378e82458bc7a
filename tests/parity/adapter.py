"""The toolkit under the names and shapes of the golden files: translation only, CPU, fp32.

`params` is a golden file's configuration, `state_dict` has official names. Everything that computes
lives in the package.
"""

import torch
from einops import rearrange

from dynamicrafter.diffusion import guidance, objective, sampler
from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, official_buffers
from dynamicrafter.diffusion.schedule import ddim_timesteps as ddim_timesteps
from dynamicrafter.model import encoders
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.autoencoder import Autoencoder, AutoencoderConfig
from dynamicrafter.model.blocks import timestep_embedding as timestep_embedding
from dynamicrafter.model.resampler import LinearProjector, Resampler, ResamplerConfig
from dynamicrafter.model.unet import TEXT_TOKENS, UNet, UNetConfig
from dynamicrafter.model.weights import load_weights
from train.data import Batch
from train.objectives import Diffusion


def unet_config(params):
    return UNetConfig(
        in_channels=params["in_channels"],
        out_channels=params["out_channels"],
        model_channels=params["model_channels"],
        channel_mult=tuple(params["channel_mult"]),
        num_res_blocks=params["num_res_blocks"],
        attention_resolutions=tuple(params["attention_resolutions"]),
        head_channels=params["num_head_channels"],
        transformer_depth=params["transformer_depth"],
        context_dim=params["context_dim"],
        dropout=params["dropout"],
        temporal=params["temporal_attention"],
        image_context="full" if params["image_cross_attention"] else "none",
        learned_gate=params.get("image_cross_attention_scale_learnable", False),
        default_fs=params["default_fs"],
    )


def resampler_config(params):
    return ResamplerConfig(
        dim=params["dim"],
        depth=params["depth"],
        heads=params["heads"],
        head_dim=params["dim_head"],
        frames=params["video_length"] or 1,
        embedding_dim=params["embedding_dim"],
        output_dim=params["output_dim"],
        ff_mult=params["ff_mult"],
    )


def autoencoder_config(params):
    settings = params["ddconfig"]
    return AutoencoderConfig(
        ch=settings["ch"],
        ch_mult=tuple(settings["ch_mult"]),
        num_res_blocks=settings["num_res_blocks"],
        z_channels=settings["z_channels"],
        in_channels=settings["in_channels"],
    )


def _load(module, state_dict):
    module.load_state_dict(state_dict)
    return module.eval()


@torch.no_grad()
def unet(params, state_dict, x, timesteps, context, fs=None):
    model = _load(UNet(unet_config(params)), state_dict)
    return model(x, timesteps, _own_context(model, context), fs)


def _own_context(model, context):
    """A model without image stream reads the text tokens alone; the official one cuts them off."""
    return context if model.config.image_context != "none" else context[:, :TEXT_TOKENS]


def unet_grad_norms(params, state_dict, x, timesteps, context, fs, target):
    model = _load(UNet(unet_config(params)), state_dict)
    context = _own_context(model, context)
    loss = objective.sample_losses(model(x, timesteps, context, fs), target).mean()
    loss.backward()
    return loss.detach(), _grad_norms(model)


def _grad_norms(module):
    return {name: parameter.grad.norm() for name, parameter in module.named_parameters()}


@torch.no_grad()
def resampler(params, state_dict, x):
    return _load(Resampler(resampler_config(params)), state_dict)(x)


@torch.no_grad()
def image_proj(params, state_dict, x):
    projector = LinearProjector(
        params["clip_embeddings_dim"],
        params["cross_attention_dim"],
        params["clip_extra_context_tokens"],
    )
    return _load(projector, state_dict)(x)


@torch.no_grad()
def autoencoder_moments(params, state_dict, x):
    return _load(Autoencoder(autoencoder_config(params)), state_dict).moments(x)


@torch.no_grad()
def autoencoder_decode(params, state_dict, z):
    return _load(Autoencoder(autoencoder_config(params)), state_dict).decode(z)


@torch.no_grad()
def clip_text(params, state_dict, tokens):
    skipped = {"penultimate": 1, "last": 0}[params["layer"]]
    return _load(encoders.TextEncoder(params["clip_config"], skipped), state_dict)(tokens)


@torch.no_grad()
def clip_image(params, state_dict, image):
    return _load(encoders.ImageEncoder(params["clip_config"]), state_dict)(image)


def tokenize(texts):
    return encoders.tokenize(texts)


def _schedule(name, base_scale=None):
    config = {
        "plain_eps": ScheduleConfig(base_scale=base_scale),
        "zsnr_v": ScheduleConfig(parameterization="v", zero_snr=True, base_scale=base_scale),
    }
    return Schedule(config[name])


def schedule(name):
    return official_buffers(_schedule(name))


def rescale_cfg(cfg, cond, g):
    return guidance.rescale_guidance(cfg, cond, g)


def q_sample(schedule_name, x0, t, noise):
    return objective.q_sample(_schedule(schedule_name), x0, t, noise)


def get_v(schedule_name, x0, t, noise):
    return objective.velocity(_schedule(schedule_name), x0, t, noise)


def predict_start_from_z_and_v(schedule_name, z, t, v):
    return objective.x0_and_eps_from_v(_schedule(schedule_name), z, t, v)[0]


def predict_eps_from_z_and_v(schedule_name, z, t, v):
    return objective.x0_and_eps_from_v(_schedule(schedule_name), z, t, v)[1]


@torch.no_grad()
def ddim(run, net, x_T, noises, conds):
    """(x_prev, pred_x0), each `[steps, ...]`; net(x, t, cond), conds = (cond, uncond, image)."""
    image_scale = run["cfg_img"] if run["multi_cond"] else None
    conds = conds[:2] if image_scale is None else conds

    if run["cfg"] == 1:

        def denoiser(x, t):
            return net(x, t, conds[0])
    else:
        denoiser = guidance.guided(
            lambda x, t: torch.stack([net(x, t, cond) for cond in conds]),
            scale=run["cfg"],
            image_scale=image_scale,
            rescale=run["guidance_rescale"],
        )
    steps = []
    sampler.ddim(
        denoiser,
        x_T,
        noises.__getitem__,
        schedule=_schedule(run["schedule"], run["base_scale"]),
        timesteps=ddim_timesteps(run["spacing"], run["S"]),
        eta=run["eta"],
        on_step=lambda _, x_prev, x0: steps.append((x_prev, x0)),
    )
    x_prev, pred_x0 = zip(*steps, strict=True)
    return torch.stack(x_prev), torch.stack(pred_x0)


def _animation_model(case, weights):
    """The whole model of a training case; its CLIP towers are never asked."""
    (unet_params, _), (vae_params, _), (resampler_params, _) = (
        weights[part] for part in ("unet", "vae", "resampler")
    )
    config = AnimationConfig(
        unet=unet_config(unet_params),
        autoencoder=autoencoder_config(vae_params),
        resampler=resampler_config(resampler_params),
        clip={
            "embed_dim": 16,
            "vision_cfg": {"layers": 1, "width": resampler_params["embedding_dim"]},
            "text_cfg": {"layers": 1, "width": unet_params["context_dim"], "heads": 1},
        },
        scale_factor=case["scale_factor"],
        schedule=ScheduleConfig(
            parameterization=case.get("parameterization", "eps"),
            zero_snr=case.get("rescale_betas_zero_snr", False),
            base_scale=case["base_scale"] if case.get("use_dynamic_rescale") else None,
        ),
    )
    model = AnimationModel(config).eval()
    prefixes = {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "resampler": "image_proj_model.",
    }
    tensors = {
        prefix + name: tensor
        for part, prefix in prefixes.items()
        for name, tensor in weights[part][1].items()
    }
    load_weights(model, tensors, may_miss=("text_encoder", "image_encoder"))
    return model


class GivenDraws:
    """The draws of a golden file, in the place of those that a sample's number decides."""

    def __init__(self, case, inputs):
        _, _, self._frames, _, _ = inputs["video"].shape
        self._index, self._inputs = case["cond_frame_index"], inputs
        self._noise = inputs["noise"]
        if "noise_strength" in case:
            shift, strength = inputs["offset_noise"], case["noise_strength"]
            self._noise = objective.offset_noise(self._noise, shift, strength)

    def integers(self, name, low, high):
        t = self._inputs["t"]
        found = {"timestep": t, "condition_frame": torch.full_like(t, self._index)}[name]
        assert ((low <= found) & (found < high)).all()
        return found

    def normal(self, name, shape):
        posterior = self._inputs["posterior_noise_bt"]
        posterior = rearrange(posterior, "(b t) c h w -> b c t h w", t=self._frames)
        found = {"posterior": posterior, "noise": self._noise}[name]
        assert found.shape[1:] == shape
        return found

    def uniform(self, name):
        return {"drop": self._inputs["random_num"]}[name]


def training_step(case, weights, inputs):
    """Through the trainer's objective; what the U-Net is given and gives is seen from itself.

    Stand-ins for the CLIP towers: given text features, and patches of the image.
    """
    model = _animation_model(case, weights)
    video = inputs["video"]
    batch = Batch(
        numbers=list(range(len(video))),
        keys=[""] * len(video),
        frames=rearrange((video + 1) * 127.5, "b c t h w -> b t h w c"),
        captions=[f"caption {number}" for number in range(len(video))],
        frame_stride=inputs["frame_stride"].long(),
        fps=inputs["fps"],
        replaced=[],
    )
    texts = dict(zip(batch.captions, inputs["text_emb"], strict=True))
    texts[""] = inputs["null_text_emb"][0]
    model.encode_prompts = lambda prompts: torch.stack([texts[prompt] for prompt in prompts])
    model.image_features = lambda images: torch.nn.functional.unfold(images, 8, stride=8).mT
    seen = {}

    def look(unet, given, output):
        x, _, context, fs = given
        noisy, condition = x.chunk(2, dim=1)
        seen.update(x_noisy=noisy, c_concat=condition, fs=fs, model_out=output.detach())
        seen["image_tokens"] = context[:, TEXT_TOKENS:].detach()

    model.unet.register_forward_hook(look)
    goal = Diffusion(
        condition_frame="random" if case["rand_cond_frame"] else "first",
        drop_conditions=case["uncond_prob"],
        fs="fps" if case["fps_condition_type"] == "fps" else "stride",
        interpolation=case.get("interp_mode", False),
    )
    chance = GivenDraws(case, inputs)
    encoded = goal.encode(model, batch, chance)
    loss = goal.losses(model, encoded, goal.draw(model, encoded, chance)).mean()
    loss.backward()
    return {
        **seen,
        "z": encoded.z,
        "loss": loss.detach(),
        "unet_grad_norms": _grad_norms(model.unet),
        "resampler_grad_norms": _grad_norms(model.image_proj_model),
    }
