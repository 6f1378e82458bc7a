"""The full-size U-Net on a CPU, in float32, beside the machine's own matrix rate.

`python -m dynamicrafter.bench.cpu forward-cpu` prints the row as JSON.
"""

import resource

import torch

from dynamicrafter.bench.measure import (
    FORWARD,
    Row,
    check,
    matrix_tflops,
    print_rows,
    relative,
    seconds,
)
from dynamicrafter.bench.weights import fill
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.model.pretrained import model_config
from dynamicrafter.model.unet import UNet


@torch.no_grad()
def forward() -> Row:
    """One pass of 16 frames at 256x256, batch 1."""
    config = AnimationConfig.from_dict(model_config("dynamicrafter_256")).unet
    with torch.device("meta"):
        unet = UNet(config)
    fill(unet.to_empty(device="cpu")).eval()
    x = torch.randn(1, config.in_channels, 16, 32, 32)
    context = torch.randn(1, 77 + 16 * 16, config.context_dim)
    given = (torch.tensor([500]), context, torch.tensor([3]))
    found = []
    taken = seconds(lambda: found.append(unet(x, *given)), 2, 0)
    other = unet(x.flip(2), *given)
    check(bool(found[0].isfinite().all()), "not finite")
    check(torch.equal(found[0], found[-1]), "two passes differ")
    check(relative(other, found[0]) > 1e-3, "the result does not depend on the latents")
    ceiling = matrix_tflops("cpu", torch.float32)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    details = {
        "seconds": taken,
        "tflops": FORWARD[256] / taken,
        "matrix_tflops": ceiling,
        "peak_gib": peak,
        "threads": torch.get_num_threads(),
    }
    share = 100 * FORWARD[256] / taken / ceiling
    what = "256: forward pass on the CPU, float32, share of the matrix rate"
    return Row(what, share, "%", "≥ 60, peak ≤ 8 GiB", details=details)


def main() -> None:
    """Print the row."""
    print_rows([forward()])


if __name__ == "__main__":
    main()
