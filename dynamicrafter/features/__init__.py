"""Feature networks of the metrics, one module each; nothing is downloaded.

I3D (FVD, KVD), VideoMAE (content-debiased FVD), C3D (Inception Score), CLIP (CLIP-SIM), DreamSim
(PIC) and LPIPS. Each offers a `network.Network`: a name, a fingerprint, and windows to features.

These modules describe; their layers stand in `layers/`. Torch is imported once a network is loaded,
so a report whose features are all in the cache never waits for it.
"""

from dynamicrafter.errors import InputError

I3D_ASSET = "i3d-kinetics-400"
LPIPS_ASSET = "lpips-alexnet"


class MissingWeights(InputError):
    """Weights that a feature network needs are not on this machine, or are not the named ones."""
