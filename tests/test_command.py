"""Errors become one line and a documented exit code, through the real console command."""

import errno
import subprocess
import sys

import pytest

from dynamicrafter.command import exit_code
from dynamicrafter.errors import FailedShareError, InputError, MachineError


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "dynamicrafter", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x.mp4 is missing"), 2),
        (FailedShareError("too many"), 3),
        (MachineError("disk"), 4),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 2),
    ],
)
def test_exit_codes(error, code, capsys):
    def main():
        raise error

    assert exit_code(main) == code
    said = capsys.readouterr().err
    assert said.startswith("dynamicrafter: ")
    assert said.count("\n") == 1


def test_a_fault_of_the_toolkit_keeps_its_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(main)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "there is no verb 'fly'"),
        (["curate", "no_such_setting=1", "source=folder"], "no_such_setting"),
        (["curate"], "source"),
        (["curate", "source=folder"], "source.path"),
        (["eval"], "there is no folder runs/curate"),
        (["train", "data=nowhere", "device=gpu"], "recipe.base"),
        (["train", "seed=}{"], "configuration"),
        (["train", "+experiment=nothing"], "experiment/nothing"),
    ],
)
def test_bad_settings_end_with_one_line_and_exit_2(arguments, said, tmp_path):
    answer = command(*arguments, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_help_of_a_verb_lists_its_settings(tmp_path):
    answer = command("train", "--help", cwd=tmp_path)
    assert answer.returncode == 0
    assert "seed" in answer.stdout


def test_a_template_is_text(tmp_path):
    (tmp_path / "t.csv").write_text("page,id\n1,none\n")
    answer = command(
        "curate", "verify-source", "source=table", "source.table=t.csv", "source.data_dir=.",
        "source.path={page}/{id}.mp4", "source.clip_id={page}_{id}", "source.caption=page",
        "run_dir=run", "tracking=disabled", cwd=tmp_path,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "no_id" in (tmp_path / "run" / "verify.csv").read_text()
