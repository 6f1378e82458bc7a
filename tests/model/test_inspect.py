"""What a checkpoint is, told for a person, and the way back into the official layout."""

import pytest
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.model.inspect import main
from dynamicrafter.model.weights import read_state_dict
from tests.model.test_pretrained import EPS, V_07, as_yaml, same_bits, write


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_checkpoint_is_told_and_written_back(tmp_path, capsys, suffix):
    stored = write(tmp_path / "m.ckpt", V_07)
    target = tmp_path / f"again{suffix}"
    kind = as_yaml(tmp_path, V_07)
    main([str(tmp_path / "m.ckpt"), "--kind", kind, "--names", "--save-as", str(target)])
    shown = capsys.readouterr().out
    assert "temporal_transformer" in shown
    assert "loaded     image_proj_model.latents" in shown
    assert "schedule   scale_arr" in shown
    loaded = len(stored) - 13
    assert f"{loaded} tensors loaded (0 reshaped), left as initialised: none, not used: 0" in shown
    same_bits(read_state_dict(target), stored)


def test_what_does_not_fit_is_refused(tmp_path):
    write(tmp_path / "m.ckpt", EPS)
    with pytest.raises(InputError, match=r"looks like kind=dynamicrafter_256"):
        main([str(tmp_path / "m.ckpt"), "--kind", as_yaml(tmp_path, V_07)])
    with pytest.raises(InputError, match="suffix has to be"):
        main([str(tmp_path / "m.ckpt"), "--save-as", str(tmp_path / "m.pt")])
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(InputError, match="hold no state dict"):
        main([str(tmp_path / "list.pt")])
