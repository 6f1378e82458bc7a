"""`python -m tests.gpu.memory FOLDER [MODEL…]`: GPU memory and time of the released sizes.

Writes a checkpoint in the official layout with random weights into FOLDER, loads it as a person
would, and animates one image. Each case runs in a process of its own, which may not have more GPU
memory than the stated limit, so that a peak under it is no accident of a large card.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

GIB = 2**30
# model, limit in GiB (CUDA's own context included), offload, image guidance (third branch), steps
CASES = (
    ("dynamicrafter_256", 8, True, None, 50),
    ("dynamicrafter_256", 8, True, 7.5, 3),
    ("dynamicrafter_256", None, False, None, 50),
    ("dynamicrafter_512", 12, True, None, 50),
    ("dynamicrafter_512", None, False, None, 50),
    ("dynamicrafter_1024", 16, True, None, 50),
    ("dynamicrafter_1024", 16, True, 7.5, 3),
    ("dynamicrafter_1024", None, False, None, 3),
)


def main() -> None:
    """Run the cases of the named models (all), each in a process of its own; print a line each."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    for name in sorted({case[0] for case in CASES}):
        if not names or name in names:
            _python(f"from tests.gpu.memory import write; write({str(folder)!r}, {name!r})")
    for number, case in enumerate(CASES):
        if not names or case[0] in names:
            _python(f"from tests.gpu.memory import show; show({str(folder)!r}, {number})")


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=False)


def show(folder: str, number: int) -> None:
    """Print the result of one case."""
    print(json.dumps(run(Path(folder), CASES[number])), flush=True)  # noqa: T201


def write(folder: str, name: str) -> None:
    """An official checkpoint of the model `name`, with random weights."""
    from dynamicrafter.bench.weights import full_size
    from dynamicrafter.model.animation import AnimationConfig
    from dynamicrafter.model.pretrained import model_config
    from dynamicrafter.model.weights import save_weights

    model = full_size(AnimationConfig.from_dict(model_config(name)))
    save_weights(Path(folder) / f"{name}.ckpt", model.official_state_dict())


def run(folder: Path, case: tuple) -> dict:
    """Animate one image under the case's limit."""
    from dynamicrafter.animate import Animator, Sampling

    name, limit, offload, image_guidance, steps = case
    free, total = torch.cuda.mem_get_info()
    context = total - free  # CUDA's own, before anything is placed
    if limit:
        torch.cuda.set_per_process_memory_fraction((limit * GIB - context) / total)
    began = time.monotonic()
    animator = Animator.from_pretrained(
        folder / f"{name}.ckpt", device="cuda", precision="bf16", offload=offload
    )
    loaded = time.monotonic()
    image = np.random.default_rng(0).integers(0, 255, (700, 1100, 3), dtype=np.uint8)
    sampling = Sampling(steps=steps, image_guidance=image_guidance)
    stamps: list[float] = []

    def on_step(_: int) -> None:
        torch.cuda.synchronize()
        stamps.append(time.monotonic())

    video = animator(image, "waves", sampling, on_step=on_step)
    done = time.monotonic()
    return {
        "model": name,
        "offload": offload,
        "branches": 2 if image_guidance is None else 3,
        "limit_gib": limit,
        "context_gib": round(context / GIB, 2),
        "peak_allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
        "load_s": round(loaded - began, 1),
        "step_s": round((stamps[-1] - stamps[0]) / (len(stamps) - 1), 3),
        "video_s": round(done - loaded, 1),
        "decode_s": round(done - stamps[-1], 1),
        "shape": list(video.shape),
        "spread": round(float(video.std()), 1),
        "device": torch.cuda.get_device_name(),
    }


if __name__ == "__main__":
    main()
