"""FLOP of a training step for one clip, row by row, as counted on the meta device.

A multiply-add counts as two. The backward pass is what the trained groups need: a layer that is
frozen passes gradients on and makes none of its own, and nothing goes back beyond the first trained
layer.
"""

from train.plan.memory import Workload, training_pass
from train.plan.passes import encoder_passes, projection_pass


def flop_rows(work: Workload, recompute: str = "none") -> dict[str, int]:
    """FLOP a clip by row; their sum is a clip's whole cost."""
    plain, whole = training_pass(work, "none"), training_pass(work, recompute)
    recomputed = {"recomputed": whole.flop - plain.flop}
    if work.objective == "reconstruction":
        rows = {
            "autoencoder forward": plain.forward_flop,
            "autoencoder backward": plain.flop - plain.forward_flop,
        }
        return rows | recomputed
    # P is the image projection: the query transformer, or a linear layer in the ablation.
    projection = projection_pass(work.model, work.trainable, work.precision)
    encoders = encoder_passes(work.model, work.precision)
    frames = work.model["frames"]
    rows = {
        "U-Net forward": plain.forward_flop - projection.forward_flop,
        "U-Net backward": plain.flop
        - plain.forward_flop
        - (projection.flop - projection.forward_flop),
        **recomputed,
        "P forward": projection.forward_flop,
        "P backward": projection.flop - projection.forward_flop,
        "autoencoder encode": frames * encoders["autoencoder"].flop,
        "CLIP text": encoders["text_encoder"].flop,
    }
    if "image_encoder" in encoders:
        rows["CLIP image"] = encoders["image_encoder"].flop
    return rows


def model_flop(work: Workload) -> int:
    """FLOP a clip that MFU is measured against: forward and backward of what has a gradient.

    Recomputing and the frozen encoders are left out.
    """
    return training_pass(work, "none").flop
