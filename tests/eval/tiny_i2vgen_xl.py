"""A random I2VGen-XL of a few thousand parameters, as diffusers saves it."""

import json
from pathlib import Path

import torch

WORDS = [chr(code) for code in range(33, 127)]
VOCABULARY = [*WORDS, *(f"{word}</w>" for word in WORDS), "<|startoftext|>", "<|endoftext|>"]


def save_tiny(folder: Path) -> Path:
    """Write `folder/model`, and beside it the vocabulary in the two files that it had once."""
    import diffusers
    import transformers

    numbers = {token: number for number, token in enumerate(VOCABULARY)}
    start, end = len(numbers) - 2, len(numbers) - 1
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tower = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    text = transformers.CLIPTextConfig(
        **tower, num_hidden_layers=2, vocab_size=len(numbers), bos_token_id=start, eos_token_id=end
    )
    vision = transformers.CLIPVisionConfig(
        **tower, num_hidden_layers=1, projection_dim=8, image_size=32, patch_size=16
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = diffusers.I2VGenXLPipeline(
            unet=diffusers.I2VGenXLUNet(
                block_out_channels=(4, 8),
                layers_per_block=1,
                norm_num_groups=2,
                down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
                up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
                cross_attention_dim=8,
                attention_head_dim=4,
            ),
            vae=diffusers.AutoencoderKL(
                block_out_channels=(4, 4, 4),
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                norm_num_groups=2,
            ),
            text_encoder=transformers.CLIPTextModel(text),
            tokenizer=transformers.CLIPTokenizer(
                str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
            ),
            image_encoder=transformers.CLIPVisionModelWithProjection(vision),
            feature_extractor=transformers.CLIPImageProcessor(crop_size=32, size=32),
            scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False),
        )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in pipeline.unet.parameters():  # as initialised, conditions would hardly show
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    pipeline.save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"
