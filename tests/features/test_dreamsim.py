"""DreamSim through its own package, on random weights in the layout that it expects."""

import socket

import numpy as np
import pytest
import torch
from PIL import Image

from dynamicrafter.features import MissingWeights
from dynamicrafter.features.dreamsim import (
    ADAPTERS,
    CODE,
    WEIGHTS,
    dreamsim_digest,
    dreamsim_network,
    load_dreamsim,
)
from eval.metrics.similarity import dreamsim_distance

HUBCONF = """
import torch
from dreamsim.feature_extraction.vision_transformer import vit_base

def dino_vitb16(pretrained=True):
    model = vit_base(patch_size=16, num_classes=0)
    address = "https://nowhere.invalid/dino_vitbase16_pretrain.pth"
    model.load_state_dict(torch.hub.load_state_dict_from_url(address, map_location="cpu"))
    return model
"""


FILES = (*WEIGHTS, ADAPTERS[0], CODE)


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_named_before_the_package_could_download(tmp_path, missing):
    for name in FILES:
        if name != missing:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    with pytest.raises(MissingWeights, match=missing.replace(".", r"\.")):
        load_dreamsim(tmp_path)
    with pytest.raises(MissingWeights, match=missing.replace(".", r"\.")):
        dreamsim_network(tmp_path)


def test_the_network_is_named_before_it_is_loaded(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = dreamsim_network(tmp_path)
    assert found.fingerprint == f"dreamsim-ensemble/{dreamsim_digest(tmp_path)}"


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """The ensemble's folder: the real sizes, since the package fixes them."""
    import peft
    from dreamsim.feature_extraction.vision_transformer import DINOHead, vit_base
    from dreamsim.model import PerceptualModel

    folder = tmp_path_factory.mktemp("dreamsim")
    torch.manual_seed(0)
    head = {f"module.head.{k}": v for k, v in DINOHead(768, 2048).state_dict().items()}
    head["module.head.last_layer.weight"] = torch.randn(2048, 256)
    torch.save({"student": head}, folder / "dino_vitb16_pretrain.pth")
    (folder / "checkpoints").mkdir()
    torch.save(vit_base().state_dict(), folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    for name in ("clip_vitb16_pretrain.pth.tar", "open_clip_vitb16_pretrain.pth.tar"):
        backbone = vit_base()
        backbone.pos_drop = torch.nn.LayerNorm(768)
        state = backbone.state_dict() | {"proj": torch.randn(768, 512) / 28}
        torch.save({"state_dict": state}, folder / name)
    (folder / CODE).parent.mkdir()
    (folder / CODE).write_text(HUBCONF)

    before = torch.hub.get_dir()
    model = PerceptualModel(
        "dino_vitb16,clip_vitb16,open_clip_vitb16",
        "cls,embedding,embedding",
        "16,16,16",
        lora=True,
        load_dir=str(folder),
        device="cpu",
    )
    torch.hub.set_dir(before)
    config = peft.LoraConfig(r=2, lora_alpha=0.5, target_modules=["qkv"])
    peft.get_peft_model(model, config).save_pretrained(folder / "ensemble_lora")
    return folder


@pytest.fixture(scope="module")
def network(ensemble):
    """The loaded ensemble: no connection was asked for, torch.hub's folder is as before."""
    before = torch.hub.get_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", lambda *_: pytest.fail("a connection"))
        network = load_dreamsim(ensemble)
    assert torch.hub.get_dir() == before
    return network


@pytest.mark.slow
def test_distances_are_the_packages_for_every_batch_size(ensemble, network):
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), np.uint8)
    whole = network.embeds(frames)
    assert whole.shape == (3, 1792)
    assert network.fingerprint == f"dreamsim-ensemble/{dreamsim_digest(ensemble)}"
    assert (ensemble / "trusted_list").is_file()  # written by loading, and not in the digest
    windows = frames[None, :2]
    np.testing.assert_allclose(
        dreamsim_network(ensemble).load("cpu")(windows)[0], whole[:2], atol=2e-4
    )
    for batch in (1, 2):
        np.testing.assert_allclose(network.embeds(frames, batch), whole, atol=2e-4)
    ours = dreamsim_distance(whole[:1], whole[None])[0]
    pixels = [network.transform(Image.fromarray(frame)) for frame in frames]
    network.model.base_model.model.normalize_embeds = True
    theirs = [float(network.model(pixels[0], other)) for other in pixels]
    network.model.base_model.model.normalize_embeds = False
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert ours[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_weights_that_do_not_fit_are_one_line(ensemble):
    path = ensemble / "clip_vitb16_pretrain.pth.tar"
    whole = path.read_bytes()
    torch.save({"state_dict": {"proj": torch.zeros(1)}}, path)
    try:
        with pytest.raises(MissingWeights, match="does not hold the DreamSim ensemble"):
            load_dreamsim(ensemble)
    finally:
        path.write_bytes(whole)
