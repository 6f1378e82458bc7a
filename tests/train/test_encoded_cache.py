"""Encoded clips: to the bit what a step would make, made anew where what made them has changed."""

import dataclasses
import shutil
import threading

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load, load_file, save_file

from dynamicrafter import files
from dynamicrafter.draws import BatchDraws
from dynamicrafter.ranks import Ranks
from dynamicrafter.shards import Sample, ShardReader, write_shards
from tests.train.validating import DIFFUSION, SIZE, build
from train import holding
from train.data import ClipFrames, ClipWindows, Positions, Window, batches, one_set
from train.data.encoded import FILLED, is_there, read_rows, write_rows
from train.encoded import frozen
from train.encoded.fill import fingerprints, kept_windows
from train.objectives import Reconstruction, to_video

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH, STEPS = 4, 3


@pytest.fixture
def model():
    return build().eval()


def windows_of(shards, size=SIZE, captions="motion"):
    clips = one_set(ClipFrames(ShardReader(shards), size))
    return ClipWindows(clips, 7, "joint", Window(4, (1, 6), captions))


def config_of(folder, size=SIZE, **changes):
    settings = {"encoded": {"folder": str(folder)}, "model": {"resolution": list(size)}}
    return OmegaConf.create({**settings, "verify_data": False, "loader_workers": 0, **changes})


def kept(folder, shards, model, objective=DIFFUSION, size=SIZE, captions="motion", **changes):
    windows, config = windows_of(shards, size, captions), config_of(folder, size, **changes)
    return kept_windows(config, windows, BATCH * STEPS, model, objective, Ranks())


def batches_of(windows, workers=0):
    return list(batches(windows, Positions(0, STEPS, BATCH), workers))


def encoded_files(folder, kind):
    return sorted(folder.glob(f"{kind}-*/??/*.safetensors"))


@pytest.fixture(scope="module")
def filled(shards, tmp_path_factory):
    """What the first steps need."""
    folder = tmp_path_factory.mktemp("filled") / "encoded"
    kept(folder, shards, build().eval())
    return folder


@pytest.fixture
def cache(filled, tmp_path, shards, model):
    """A folder that has what the first steps need, and the windows that read it."""
    folder = shutil.copytree(filled, tmp_path / "encoded")
    return folder, kept(folder, shards, model)


@pytest.mark.parametrize("size", [1, 4])
def test_moments_of_a_frame_do_not_depend_on_the_others(model, monkeypatch, size):
    """By the call's size: what a call of exactly so many frames makes, the last one filled up."""
    monkeypatch.setattr(frozen, "frames_per_call", lambda *args: size)
    video = torch.rand(3, 3, 2, 16, 16) * 2 - 1  # six frames
    found = frozen.frame_moments(model, video)
    images = [video[b, :, t] for b in range(3) for t in range(2)]
    for number in range(6):
        first = number - number % size
        call = (images[first : first + size] + [images[-1]] * size)[:size]
        expected = torch.cat(model.first_stage_model.moments(torch.stack(call)), dim=1)
        assert torch.equal(found.flatten(0, 1)[number], expected[number - first])


@pytest.mark.parametrize("size", [1, 2, 4])
def test_states_of_a_prompt_do_not_depend_on_the_others(model, monkeypatch, size):
    monkeypatch.setattr(frozen, "prompts_per_call", lambda device: size)
    found = frozen.prompt_states(model, ["a bear", "", "a bear", "a boat"])
    calls = {1: [["a bear"], [""], ["a boat"]], 2: [["a bear", ""], ["a boat"] * 2]}
    calls = calls.get(size, [["a bear", "", "a boat", "a boat"]])
    bear, empty, boat = torch.cat([model.encode_prompts(call) for call in calls])[:3]
    assert torch.equal(found, torch.stack([bear, empty, bear, boat]))


def test_a_gpu_is_filled_by_powers_of_two():
    gpu = torch.device("cuda")
    sizes = [(256, 256), (320, 512), (576, 1024)]
    assert [frozen.frames_per_call(gpu, *size) for size in sizes] == [8, 2, 1]


@pytest.mark.parametrize("objective", [DIFFUSION, dataclasses.replace(DIFFUSION, interpolation=1)])
def test_a_step_sees_the_same_to_the_bit(shards, model, tmp_path, objective):
    windows = kept(tmp_path, shards, model, objective)
    for plain, batch in zip(batches_of(windows_of(shards)), batches_of(windows), strict=True):
        assert plain.kept is None
        assert batch.kept is not None
        assert batch.frames.shape[1] == 1
        assert (batch.numbers, batch.keys) == (plain.numbers, plain.keys)
        chance = BatchDraws(7, "joint", plain.numbers)
        found, expected = (objective.encode(model, one, chance) for one in (batch, plain))
        for name, tensor in vars(expected).items():
            assert torch.equal(getattr(found, name), tensor), name


@pytest.mark.parametrize("frame", ["random", "first"])
def test_the_one_frame_that_is_decoded_is_the_condition_frame(shards, model, tmp_path, frame):
    objective = dataclasses.replace(DIFFUSION, condition_frame=frame)
    plain, *_ = batches_of(windows_of(shards))
    batch, *_ = batches_of(kept(tmp_path, shards, model, objective))
    drawn = BatchDraws(7, "joint", plain.numbers).integers("condition_frame", 0, 4)
    index = drawn if frame == "random" else torch.zeros(BATCH, dtype=torch.int64)
    assert torch.equal(batch.frames[:, 0], plain.frames[torch.arange(BATCH), index])


def test_all_frames_of_the_clips_that_are_needed_are_there(cache, shards, model):
    folder, windows = cache
    needed = {windows.locate(number).key for number in range(BATCH * STEPS)}
    assert len(encoded_files(folder, "moments")) == len(needed)
    assert len(encoded_files(folder, "texts")) == len(needed) + 1  # and the empty prompt
    place = windows.locate(0)
    path = windows.encoded.clip_path(place.data.frames.reader, place.clip)
    frames = place.data.frames.decode(place.sample(), range(24))
    video = to_video(torch.from_numpy(frames)[None], model.device)
    assert torch.equal(load_file(path)["rows"], frozen.frame_moments(model, video)[0])


def test_what_is_there_is_not_made_again(cache, shards, model, monkeypatch):
    folder, _ = cache
    monkeypatch.setattr(model.first_stage_model, "moments", None)
    monkeypatch.setattr(model, "encode_prompts", None)
    kept(folder, shards, model)
    shutil.rmtree(folder / FILLED)  # then file by file
    kept(folder, shards, model, verify_data=True)


def test_other_captions_of_the_same_videos_share_the_moments(cache, shards, model, tmp_path):
    folder, _ = cache
    info = {"fps": 24.0, "frames": 24, "width": 48, "height": 32, "name": "a square"}
    reader = ShardReader(shards)
    samples = [Sample(s.key, s.video, s.text, info) for s in (reader[i] for i in range(10))]
    write_shards(tmp_path / "stock", samples, name="train", config_digest="test")
    before = encoded_files(folder, "moments")
    windows = kept(folder, tmp_path / "stock", model, captions="stock")
    assert encoded_files(folder, "moments") == before
    (batch, *_) = batches_of(windows)
    states = model.encode_prompts(["a square"]).expand(BATCH, -1, -1)
    assert torch.equal(batch.kept.text, states)


def changed(model, name):
    with torch.no_grad():
        parameter = dict(model.named_parameters())[name]
        value = np.float32(parameter.view(-1)[0].item())
        parameter.view(-1)[0] = float(np.nextafter(value, np.float32(9)))
    return model


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("first_stage_model.quant_conv.bias", ["moments"]),
        ("first_stage_model.decoder.conv_out.bias", []),
        ("cond_stage_model.model.positional_embedding", ["texts"]),
        ("model.diffusion_model.out.2.bias", []),
    ],
)
def test_one_bit_of_a_weight_makes_another_fingerprint_of_what_it_decides(model, name, kinds):
    before = dict(fingerprints(model, SIZE))
    after = dict(fingerprints(changed(model, name), SIZE))
    assert [kind for kind in before if before[kind] != after[kind]] == kinds


def test_size_and_precision_make_another_fingerprint(model):
    before = dict(fingerprints(model, SIZE))
    larger = dict(fingerprints(model, (16, 32)))
    assert (larger["moments"] != before["moments"], larger["texts"] == before["texts"]) == (1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        low = dict(fingerprints(model, SIZE))
    assert (low["moments"] != before["moments"], low["texts"] != before["texts"]) == (1, 1)


def assert_as_in_a_step(model, windows, shards, size=SIZE):
    pairs = zip(batches_of(windows), batches_of(windows_of(shards, size)), strict=True)
    for batch, plain in pairs:
        video = to_video(plain.frames, model.device)
        assert torch.equal(batch.kept.moments, frozen.frame_moments(model, video))


def test_another_autoencoder_and_another_crop_are_encoded_anew(cache, shards, model):
    folder, _ = cache
    count = len(encoded_files(folder, "moments"))
    other = changed(model, "first_stage_model.quant_conv.bias")
    assert_as_in_a_step(other, kept(folder, shards, other), shards)
    assert len(encoded_files(folder, "moments")) == 2 * count
    assert_as_in_a_step(other, kept(folder, shards, other, size=(32, 16)), shards, (32, 16))
    assert len(encoded_files(folder, "moments")) == 3 * count
    assert len(encoded_files(folder, "texts")) == count + 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def tamper(path):
    tensors = load(path.read_bytes())
    tensors["rows"].view(torch.uint8).bitwise_xor_(1)
    save_file(tensors, path, {"sides": "32x48" if "moments" in str(path) else ""})


def replace_by_nothing(path):
    path.write_bytes(b"")


def of_another_shape(path):
    tensors = load(path.read_bytes())
    rows = tensors["rows"].flatten()[:4, None]
    save_file({**tensors, "rows": rows}, path, {"sides": "32x48" if "moments" in str(path) else ""})


@pytest.mark.parametrize("kind", ["moments", "texts"])
@pytest.mark.parametrize("damage", [truncate, tamper, replace_by_nothing, of_another_shape])
def test_a_damaged_file_is_told_passed_over_and_made_anew(
    cache, shards, model, capsys, damage, kind
):
    folder, windows = cache
    paths = encoded_files(folder, kind)
    good = {path: load(path.read_bytes()) for path in paths}
    for path in paths:
        damage(path)
    capsys.readouterr()
    found = batches_of(windows)
    told = capsys.readouterr().err
    assert all(batch.kept is None for batch in found)
    assert f"{folder}/{kind}-" in told
    assert "is damaged (" in told
    kept(folder, shards, model, verify_data=True)
    for path, tensors in good.items():
        again = load_file(path)
        assert torch.equal(again["rows"], tensors["rows"])
        assert torch.equal(again["digests"], tensors["digests"])
    assert all(batch.kept is not None for batch in batches_of(windows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_come_back_in_their_type_and_any_order(tmp_path, dtype):
    rows = torch.randn(5, 3, 2).to(dtype)
    write_rows(tmp_path / "a" / "b", rows, "2x3")
    found = read_rows(tmp_path / "a" / "b", [4, 0, 0], "2x3")
    assert found.dtype == dtype
    assert torch.equal(found, rows[[4, 0, 0]])


def test_rows_of_a_video_that_states_another_size_are_left_alone(tmp_path, capsys):
    write_rows(tmp_path / "a", torch.randn(2, 3), "2x3")
    assert read_rows(tmp_path / "a", [0], "3x2") is None
    assert not is_there(tmp_path / "a", "3x2")
    assert is_there(tmp_path / "a", "2x3", verify=True)
    assert read_rows(tmp_path / "none", [0]) is None
    assert capsys.readouterr().err == ""


def test_an_encoder_that_is_trained_is_not_kept(shards, model, tmp_path):
    assert kept(tmp_path, shards, model, Reconstruction()).encoded is None
    model.cond_stage_model.requires_grad_(True)
    assert kept(tmp_path, shards, model).encoded is None
    assert not list(tmp_path.iterdir())


def test_another_run_that_fills_the_folder_is_waited_for(
    tmp_path, shards, model, monkeypatch, capsys
):
    monkeypatch.setattr(holding, "POLL_S", 0.01)
    held, done = threading.Event(), threading.Event()

    def other():
        with files.folder_lock(tmp_path):
            held.set()
            done.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(20)
    timer = threading.Timer(0.2, done.set)
    timer.start()
    windows = kept(tmp_path, shards, model)
    thread.join()
    told = capsys.readouterr().err
    assert told.count("another run is encoding clips; waiting for it") == 1
    assert batches_of(windows)[0].kept is not None


@pytest.mark.slow
def test_loader_processes_encode_and_read_the_same(cache, shards, model, tmp_path):
    _, windows = cache
    other = kept(tmp_path / "other", shards, model, loader_workers=2)
    for one, another in zip(batches_of(windows), batches_of(other, workers=2), strict=True):
        assert torch.equal(one.kept.moments, another.kept.moments)
        assert torch.equal(one.kept.text, another.kept.text)
        assert torch.equal(one.frames, another.frames)
