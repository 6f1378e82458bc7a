"""Feature networks of the metrics: I3D, CLIP, DreamSim. One loader each; nothing is downloaded."""

from dynamicrafter.errors import InputError

I3D_ASSET = "i3d-kinetics-400"  # named here, where no torch is imported


class MissingWeights(InputError):
    """Weights that a feature network needs are not on this machine, or are not the named ones."""
