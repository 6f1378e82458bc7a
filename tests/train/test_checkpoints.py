"""Checkpoints: they give a training back to the bit, and only whole ones count."""

import collections
import errno
import shutil

import pytest
import torch
from safetensors.torch import load_file

from dynamicrafter import files
from dynamicrafter.errors import MachineError
from train.checkpoints import Checkpoints, Training, read_state, restore, step_of
from train.optimizer import Ema, make_optimizer
from train.settings import Settings

SETTINGS = Settings(name="x", steps=9, batch=1, learning_rate=0.1)
DiskUsage = collections.namedtuple("DiskUsage", "total used free")


def make_training(seed=0, ema=True):
    chance = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (3, 4), "a.bias": (4,), "gate": ()}
    trained = {n: torch.nn.Parameter(torch.randn(s, generator=chance)) for n, s in shapes.items()}
    return Training(trained, make_optimizer(trained, SETTINGS), Ema(trained, 0.9) if ema else None)


def take_step(training, number):
    chance = torch.Generator().manual_seed(number)
    for parameter in training.trained.values():
        parameter.grad = torch.randn(parameter.shape, generator=chance)
    training.optimizer.step()
    if training.ema:
        training.ema.update()


def values(training):
    """All that a training consists of, as copies."""
    parts = training.tensors().items()
    return {(file, name): t.detach().clone() for file, part in parts for name, t in part.items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert not [key for key in found if not torch.equal(found[key], expected[key])]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", leads=True, keep_last=2)


@pytest.fixture
def saved(checkpoints):
    """A training after steps 1 and 2, saved after both, and its values then."""
    training, history = make_training(), {}
    for step in (1, 2):
        take_step(training, step)
        checkpoints.save(step, training, {"sample_number": step * 8})
        history[step] = values(training)
    checkpoints.wait()
    return history


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ema", [True, False])
def test_a_restored_training_goes_on_as_if_nothing_had_been(checkpoints, ema):
    training = make_training(ema=ema)
    for number in range(3):
        take_step(training, number)
    checkpoints.save(3, training, {})
    checkpoints.wait()
    other = make_training(seed=1, ema=ema)
    restore(checkpoints.newest(), other)
    assert_equal(values(other), values(training))
    for number in (3, 4):
        take_step(training, number)
        take_step(other, number)
    assert_equal(values(other), values(training))


def test_what_is_restored_lies_in_memory_as_the_parameters_do(checkpoints):
    """Compiled layers train channels-last weights; a fused step needs moments that lie so too."""
    weights = torch.arange(240.0).reshape(5, 4, 3, 4)
    trained = {"conv": torch.nn.Parameter(weights.contiguous(memory_format=torch.channels_last))}
    training = Training(trained, make_optimizer(trained, SETTINGS), Ema(trained, 0.9))
    take_step(training, 0)
    checkpoints.save(1, training, {})
    checkpoints.wait()
    before = values(training)
    restore(checkpoints.newest(), training)
    assert_equal(values(training), before)
    moments = training.optimizer.state[trained["conv"]]
    found = [moments["exp_avg"], moments["exp_avg_sq"], training.ema.average["conv"]]
    assert [tensor.stride() for tensor in found] == 3 * [trained["conv"].stride()]
    assert not any(tensor.requires_grad for tensor in found)


def test_restoring_over_moments_that_are_there_replaces_them(checkpoints, saved):
    other = make_training(seed=1)
    for number in range(5):
        take_step(other, number)
    restore(checkpoints.newest(), other)
    assert_equal(values(other), saved[2])


def test_a_parameter_without_a_gradient_so_far_comes_back_too(checkpoints):
    training = make_training()
    training.trained["a.weight"].grad = torch.ones(3, 4)
    training.optimizer.step()
    checkpoints.save(1, training, {})
    checkpoints.wait()
    other = make_training(seed=1)
    restore(checkpoints.newest(), other)
    assert_equal(values(other), values(training))
    take_step(training, 7)
    take_step(other, 7)
    assert_equal(values(other), values(training))


def test_what_is_saved_is_what_was_there_when_it_was_asked_for(checkpoints):
    """The next step changes the tensors while they are being written."""
    training = make_training()
    take_step(training, 0)
    before = values(training)
    checkpoints.save(1, training, {})
    for number in range(1, 20):
        take_step(training, number)
    checkpoints.wait()
    other = make_training(seed=1)
    restore(checkpoints.newest(), other)
    assert_equal(values(other), before)


def test_the_files_have_documented_names(checkpoints, saved):
    newest = checkpoints.newest()
    assert names(newest) == [
        "ema.safetensors",
        "optimizer.safetensors",
        "state.json",
        "weights.safetensors",
    ]
    assert set(load_file(newest / "weights.safetensors")) == {"a.weight", "a.bias", "gate"}
    moments = {f"{n}.{f}" for n in ("a.weight", "a.bias", "gate") for f in ("exp_avg", "step")}
    assert moments < set(load_file(newest / "optimizer.safetensors"))
    state = read_state(newest)
    assert (state["step"], state["sample_number"]) == (2, 16)
    assert step_of(newest) == 2


def test_nothing_saved_is_nothing_found(checkpoints):
    assert checkpoints.newest() is None


def test_leftovers_of_a_killed_writer_are_no_checkpoints(checkpoints, saved):
    newest = checkpoints.newest()
    shutil.copytree(newest, newest.with_name(".step-00000003.0a1b2c-1-0a1b2c3d.partial"))
    assert checkpoints.newest() == newest


def tear_off(path, count):
    path.write_bytes(path.read_bytes()[:-count])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "state.json").unlink(), "state.json"),
        (lambda folder: tear_off(folder / "state.json", 5), "state.json"),
        (lambda folder: tear_off(folder / "weights.safetensors", 1), "weights.safetensors"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b""), "weights.safetensors"),
        (lambda folder: tear_off(folder / "ema.safetensors", 8), "ema.safetensors"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "weights.safetensors"),
        (lambda folder: (folder / "optimizer.safetensors").unlink(), "optimizer.safetensors"),
        (lambda folder: (folder / "ema.safetensors").unlink(), "ema.safetensors"),
    ],
    ids=[
        "no state",
        "torn state",
        "torn weights",
        "empty weights",
        "torn averages",
        "no weights",
        "no moments",
        "no averages",
    ],
)
def test_a_damaged_one_is_passed_over_and_told(checkpoints, saved, capsys, damage, told):
    newest = checkpoints.newest()
    damage(newest)
    found = checkpoints.newest()
    assert step_of(found) == 1
    line = capsys.readouterr().err
    assert str(newest) in line
    assert told in line
    other = make_training(seed=1)
    restore(found, other)
    assert_equal(values(other), saved[1])


def test_a_damaged_one_is_written_anew_when_its_step_comes(checkpoints, saved):
    newest = checkpoints.newest()
    tear_off(newest / "weights.safetensors", 1)
    training = make_training(seed=5)
    take_step(training, 0)
    checkpoints.save(2, training, {})
    checkpoints.wait()
    assert checkpoints.newest() == newest
    assert_equal(
        load_file(newest / "weights.safetensors"), training.tensors()["weights.safetensors"]
    )


def test_the_newest_and_multiples_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, leads=True, keep_last=2, keep_every=4)
    training = make_training()
    take_step(training, 0)
    for step in range(1, 12):
        checkpoints.save(step, training, {})
    checkpoints.wait()
    assert names(tmp_path) == [f"step-{step:08d}" for step in (4, 8, 10, 11)]


def test_damaged_ones_do_not_count_as_kept_and_are_cleared_away(tmp_path):
    checkpoints = Checkpoints(tmp_path, leads=True, keep_last=2)
    training = make_training()
    take_step(training, 0)
    for step in (1, 2):
        checkpoints.save(step, training, {})
        checkpoints.wait()
    (tmp_path / "step-00000002" / "state.json").unlink()
    checkpoints.save(3, training, {})
    checkpoints.wait()
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


def test_the_old_one_goes_only_when_the_new_one_is_whole(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, leads=True, keep_last=1)
    training = make_training()
    take_step(training, 0)
    checkpoints.save(1, training, {})
    checkpoints.wait()
    seen = []

    def removing(path, *args, **kwargs):
        seen.append((path.name, step_of(checkpoints.newest())))

    monkeypatch.setattr(shutil, "rmtree", removing)
    checkpoints.save(2, training, {})
    checkpoints.wait()
    old = [step for name, step in seen if name == "step-00000001"]
    assert old == [2]


def test_too_little_room_is_told_before_anything_is_written(checkpoints, saved, monkeypatch):
    training = make_training()
    take_step(training, 0)
    needed = sum(tensor.nbytes for tensor in values(training).values())
    before = names(checkpoints.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(100, 0, needed - 1))
    with pytest.raises(MachineError, match=r"a checkpoint takes .* GB and .* has .* GB left; free"):
        checkpoints.save(3, training, {})
    checkpoints.wait()
    assert names(checkpoints.folder) == before
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(100, 0, needed))
    checkpoints.save(3, training, {})
    checkpoints.wait()
    assert step_of(checkpoints.newest()) == 3


@pytest.mark.parametrize("at", ["save", "wait"])
def test_a_full_disk_reaches_the_loop_and_harms_nothing(checkpoints, saved, monkeypatch, at):
    training = make_training()
    take_step(training, 0)
    write = files.write_tensors

    def full(path, tensors, metadata=None):
        if path.name == "optimizer.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, tensors, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_tensors", full)
        checkpoints.save(3, training, {})
        with pytest.raises(OSError, match="No space left") as caught:
            checkpoints.save(4, training, {}) if at == "save" else checkpoints.wait()
    assert caught.value.errno == errno.ENOSPC
    assert names(checkpoints.folder) == ["step-00000001", "step-00000002"]
    other = make_training(seed=1)
    restore(checkpoints.newest(), other)
    assert_equal(values(other), saved[2])

    checkpoints.save(5, training, {})  # told once; with room again it goes on
    checkpoints.wait()
    assert step_of(checkpoints.newest()) == 5


def test_a_rank_that_does_not_lead_writes_nothing_and_tells_nothing(tmp_path, saved, capsys):
    folder = tmp_path / "checkpoints"  # of `saved`
    (folder / "step-00000002" / "state.json").unlink()
    before = names(folder)
    follower = Checkpoints(folder, leads=False, keep_last=1)
    training = make_training()
    take_step(training, 0)
    follower.save(3, training, {})
    follower.wait()
    assert names(folder) == before
    assert step_of(follower.newest()) == 1
    assert capsys.readouterr().err == ""


def test_averages_are_computed_with_inside_the_block():
    training, plain = make_training(), make_training(ema=False)
    take_step(training, 0)
    present = values(training)
    with training.averaged(), plain.averaged():
        for name, parameter in training.trained.items():
            assert torch.equal(parameter, present["ema.safetensors", name])
    assert_equal(values(training), present)
