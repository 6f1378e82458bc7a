"""A disk that is full, or would be: one line, the checkpoint before is whole, and it goes on."""

import collections
import errno

import pytest

from dynamicrafter import files
from tests.commands.runner import partials
from tests.resume.in_process import assert_one_line, checkpoints_of, names, train_here
from tests.train.small_runs import assert_same_training, stage
from train import checkpoints, journal

pytestmark = pytest.mark.slow

DiskUsage = collections.namedtuple("DiskUsage", "total used free")


def checkpoint_bytes(folder):
    paths = (stage(folder) / "checkpoints" / names(6)[0]).iterdir()
    return sum(path.stat().st_size for path in paths)


@pytest.mark.slow
def test_a_disk_that_runs_full(shards, undisturbed, small_disk, monkeypatch, capsys):
    """First it is seen beforehand; then, as if another had filled it meanwhile, in mid-save."""
    disk, size = small_disk
    size("1g")
    folder, one = disk / "run", checkpoint_bytes(undisturbed)
    size(int(1.5 * one))
    assert train_here(shards, folder) == 4
    needed = f"a checkpoint takes {one / 1e9:.2f} GB and"
    assert_one_line(capsys.readouterr().err, needed, "GB left; free some space", str(folder))
    assert checkpoints_of(folder) == names(2)

    plenty = DiskUsage(0, 0, 10**12)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "disk_usage", lambda path: plenty)
        assert train_here(shards, folder) == 4
    told = capsys.readouterr().err
    assert_one_line(told, "the disk is full", "step-00000004", "free some space, then run it again")
    assert "step-00000002, read in" in told
    assert checkpoints_of(folder) == names(2)
    assert not partials(folder)

    size("1g")
    assert train_here(shards, folder) == 0
    assert "step-00000002, read in" in capsys.readouterr().err
    assert_same_training(undisturbed, folder)


@pytest.mark.parametrize(
    ("file", "kept"), [("weights.safetensors", [2]), ("state.json", [2]), ("stage.json", [6])]
)
def test_a_write_that_fails(shards, undisturbed, tmp_path, monkeypatch, capsys, file, kept):
    """The disk is full at some file of the second checkpoint, or behind the last one."""
    folder, seen = tmp_path / "run", []
    atomic_path = files.atomic_path

    def full(path, *more):
        if path.name == file:
            seen.append(path)
            if len(seen) == 2 or file == "stage.json":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return atomic_path(path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_path", full)
        assert train_here(shards, folder) == 4
    assert_one_line(capsys.readouterr().err, "the disk is full", file, "free some space")
    assert checkpoints_of(folder) == names(*kept)
    assert not partials(folder)

    assert train_here(shards, folder) == 0
    assert f"step-{kept[0]:08d}, read in" in capsys.readouterr().err
    assert_same_training(undisturbed, folder)


def test_a_journal_that_is_cut_off_in_a_row(shards, undisturbed, tmp_path, monkeypatch, capsys):
    """The disk is full in the middle of the row of step 3."""
    folder = tmp_path / "run"
    append = journal.Journal._append

    def full(self, name, row):
        append(self, name, row)
        if row["step"] == 3:
            path = stage(folder) / name
            path.write_bytes(path.read_bytes()[:-20])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "_append", full)
        assert train_here(shards, folder) == 4
    assert_one_line(capsys.readouterr().err, "the disk is full", "free some space")
    assert checkpoints_of(folder) == names(2)
    assert train_here(shards, folder) == 0
    assert_same_training(undisturbed, folder)
