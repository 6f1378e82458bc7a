"""Make a tiny Qwen2-VL with random weights: python tiny_qwen.py FOLDER, in vLLM's environment.

It runs the whole path of a real one (chat template, frames, schema, batching); what it says is
noise. It imports nothing of this project.
"""

import json
import os
import sys
from pathlib import Path

TEXTS = [
    "You label only what changes over time. Ignore place, colours, clothing and light.",
    "man doing push-ups, dog running, waves breaking, smoke rising, leaves falling",
    '{"is_dynamic": true, "subject": "man", "motion": "walking", "category": "human"}',
    '"camera": "static", "speed": "normal", "confidence": 75, pan tilt zoom handheld tracking',
]
SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] in ['image', 'image_url'] %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] in ['video', 'video_url'] %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATCH, MERGE = 14, 2
SMALLEST, LARGEST = 56 * 56, 112 * 112  # pixels of a frame: 4 … 16 tokens
POSITIONS = 2048
SEED = 20


def make_tokenizer():
    """A byte-level BPE of a few hundred tokens, so that any text can be written."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL,
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS, trainer)
    vocabulary = json.loads(inner.to_str())["model"]
    tokenizer = Qwen2TokenizerFast(
        vocab=vocabulary["vocab"],
        merges=[tuple(pair) for pair in vocabulary["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=SPECIAL[1:],
        model_max_length=POSITIONS,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer):
    """Two text layers of width 128 and two vision layers, in bfloat16."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": POSITIONS,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 6, 6],
            },
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 128,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(SEED)
    return Qwen2VLForConditionalGeneration(config).to(torch.bfloat16)


def main() -> int:
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    folder = Path(sys.argv[1])
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    frame = {
        "size": {"shortest_edge": SMALLEST, "longest_edge": LARGEST},
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
    }
    Qwen2VLImageProcessor(**frame).save_pretrained(folder)
    Qwen2VLVideoProcessor(**frame).save_pretrained(folder)
    sys.stdout.write(f"{sum(weight.numel() for weight in model.parameters())} parameters\n")
    return 0


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.exit(main())
