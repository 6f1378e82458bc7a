"""DreamSim image embeddings for PIC, through the `dreamsim` package and from a local folder.

The package downloads whatever it misses and moves torch.hub's folder for the whole process. So the
folder is looked through first, and torch.hub is put back afterwards. The DINO backbone comes as
torch.hub code: `facebookresearch_dino_main/hubconf.py` in the folder is executed.

Fu et al., "DreamSim", 2023: the ensemble of DINO, CLIP and OpenCLIP ViT-B/16 with merged LoRA.
"""

import contextlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights
from dynamicrafter.features.network import Extract, Network, frame_extractor
from dynamicrafter.files import file_digest, sha256_json

if TYPE_CHECKING:
    import torch

WEIGHTS = (
    "dino_vitb16_pretrain.pth",
    "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar",
    "checkpoints/dino_vitbase16_pretrain.pth",
    "ensemble_lora/adapter_config.json",
)
ADAPTERS = ("ensemble_lora/adapter_model.safetensors", "ensemble_lora/adapter_model.bin")
CODE = "facebookresearch_dino_main/hubconf.py"
WIDTH = 1792  # DINO 768 + CLIP 512 + OpenCLIP 512


def dreamsim_network(folder: str | Path) -> Network:
    """DreamSim as a feature network: windows → an embedding a frame, `[b, t, 1792]`.

    Frames are resized on the CPU by the package's own transform.

    Raises:
        MissingWeights: a file is missing in the folder.
    """
    fingerprint = _fingerprint(dreamsim_digest(folder))

    def load(device: "str | torch.device") -> Extract:
        return frame_extractor(load_dreamsim(folder, device).embeds)

    return Network("dreamsim-ensemble", fingerprint, "all frames", load)


def _fingerprint(digest: str) -> str:
    return f"dreamsim-ensemble/{digest}"


def dreamsim_digest(folder: str | Path) -> str:
    """Hex SHA-256 over the contents of the files that `load_dreamsim` reads, code included.

    What else lies in the folder does not count, such as torch.hub's `trusted_list`.

    Raises:
        MissingWeights: a file is missing in the folder.
    """
    folder = Path(folder).resolve()
    adapter = next((name for name in ADAPTERS if (folder / name).is_file()), ADAPTERS[0])
    for name in (*WEIGHTS, adapter, CODE):
        if not (folder / name).is_file():
            raise MissingWeights(
                f"no DreamSim ensemble in {folder}: {name} is missing; put the files of the "
                "package's checkpoint archive and of DINO's torch.hub repository there"
            )
    code = (folder / CODE).parent.glob("*.py")  # hubconf.py imports its neighbours
    read = [*(folder / name for name in (*WEIGHTS, adapter)), *code]
    return sha256_json({path.relative_to(folder).as_posix(): file_digest(path) for path in read})


def load_dreamsim(folder: str | Path, device: "str | torch.device" = "cpu") -> "DreamSim":
    """The DreamSim ensemble with the weights of a local folder; nothing is downloaded.

    torch.hub writes the file `trusted_list` into the folder.

    Raises:
        MissingWeights: a file is missing in the folder or does not fit.
        InputError: the `dreamsim` package is not installed.
    """
    folder = Path(folder).resolve()
    digest = dreamsim_digest(folder)
    try:
        import dreamsim
    except ImportError:
        raise InputError(
            "the package dreamsim is not installed; run: pip install 'dynamicrafter-toolkit[eval]'"
        ) from None
    try:
        with _hub_folder_kept(), contextlib.redirect_stdout(io.StringIO()):
            model, transform = dreamsim.dreamsim(
                device=device, cache_dir=str(folder), normalize_embeds=False
            )
    except (RuntimeError, LookupError, pickle.UnpicklingError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingWeights(f"{folder} does not hold the DreamSim ensemble: {reason}") from None
    return DreamSim(model, transform, device, _fingerprint(digest))


@contextlib.contextmanager
def _hub_folder_kept() -> Iterator[None]:
    import torch

    before = torch.hub.get_dir()
    try:
        yield
    finally:
        torch.hub.set_dir(before)


class DreamSim:
    """Embeddings before the head's centring and normalisation. `fingerprint` names the weights."""

    def __init__(self, model, transform, device: "str | torch.device", fingerprint: str):
        self.model = model
        self.transform = transform
        self.device = device
        self.fingerprint = fingerprint

    def embeds(self, frames: np.ndarray, batch: int = 16) -> np.ndarray:
        """Frames uint8 `[n, h, w, 3]` → float32 `[n, 1792]`."""
        import torch

        result = np.empty((len(frames), WIDTH), np.float32)
        for start in range(0, len(frames), batch):
            images = [Image.fromarray(frame) for frame in frames[start : start + batch]]
            pixels = torch.cat([self.transform(image) for image in images])  # [b, 3, 224, 224]
            # The package squeezes; a reshape holds for every batch, one frame included.
            with torch.inference_mode():
                embeds = self.model.embed(pixels.to(self.device)).reshape(len(images), WIDTH)
            result[start : start + batch] = embeds.float().cpu().numpy()
        return result
