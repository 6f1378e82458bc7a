"""`dynamicrafter animate` and `animate gates` as people type them, and everything they refuse."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from dynamicrafter import cli, files
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.probe import probe
from dynamicrafter.model.weights import read_state_dict, save_weights

QUICK = ["sampling.steps=2", "tracking=disabled", "threads=1"]
SHORT = "sampling.frames=4"  # where the length of the video does not matter


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Run a command in this process, in an empty folder; returns the exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dynamicrafter", *map(str, arguments)])
        threads = torch.get_num_threads()
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        torch.set_num_threads(threads)
        GlobalHydra.instance().clear()
        output = capfd.readouterr()
        assert "this must not run" not in output.out
        return ended.value.code, output.err

    return run


@pytest.fixture
def photo(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_one_image(call, small_model, photo, tmp_path):
    prompt = "a boat, rocking (gently) on the captain's waves"
    command = ["animate", f"pretrained={small_model}", f"image={photo}", f"prompt={prompt}", *QUICK]
    code, said = call(*command, "run_dir=out", "sampling.fs=3", "fps=12")
    assert code == 0, said
    assert "animate: 2/2 steps" in said
    record = json.loads((tmp_path / "out/videos/photo.json").read_text())
    assert record["prompt"] == prompt
    assert record["settings"].items() >= {
        "steps": 2, "spacing": "uniform_trailing", "guidance_rescale": 0.7, "fs": 3, "frames": 16,
        "seed": 123, "eta": 1.0, "guidance_scale": 7.5, "mode": "animate", "fit": "crop",
        "precision": "fp32", "fps": 12,
    }.items()  # fmt: skip
    assert record["warnings"] == []
    facts = probe(tmp_path / "out/videos/photo.mp4")
    assert (facts.codec, facts.width, facts.height, facts.fps) == ("h264", 64, 64, 12)
    assert len(read_frames(tmp_path / "out/videos/photo.mp4", range(16))) == 16
    again, said = call(*command, "run_dir=out", "sampling.fs=3", "fps=12")
    assert again == 0
    assert "already whole" in said


def test_a_table_of_pairs_several_at_a_time(call, small_model, photo, tmp_path):
    for name in ("a.png", "b.png"):
        Image.open(photo).rotate(90 if name == "a.png" else 180).save(tmp_path / name)
    rows = [["image", "prompt", "key"], ["a.png", "one", "first"], ["b.png", "two", ""],
            ["photo.png", "three", ""]]  # fmt: skip
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    command = ["animate", f"pretrained={small_model}", "image=pairs.csv", *QUICK, SHORT]
    assert call(*command, "run_dir=two", "batch=2")[0] == 0
    assert call(*command, "run_dir=one", "batch=1")[0] == 0
    items = files.read_json(tmp_path / "two/items.json")["items"]
    assert [item["key"] for item in items] == ["first", "b", "photo"]
    for key in ("first", "b", "photo"):
        two, one = (
            read_frames(tmp_path / run / f"videos/{key}.mp4", range(4)).astype(int)
            for run in ("two", "one")
        )
        assert np.abs(two - one).mean() < 0.5  # rounding steps of uint8, through the codec


def test_two_processes_share_the_items(call, small_model, photo, tmp_path, monkeypatch):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for turn in (0, 90, 180):
        Image.open(photo).rotate(turn).save(pictures / f"turned-{turn}.png")
    command = ["animate", f"pretrained={small_model}", f"image={pictures}", "prompt=one", *QUICK]
    command.append(SHORT)
    assert call(*command, "run_dir=alone")[0] == 0

    monkeypatch.setenv("WORLD_SIZE", "2")
    second = subprocess.Popen(
        [sys.executable, "-m", "dynamicrafter", *command, "run_dir=shared"],
        env=os.environ | {"RANK": "1", "LOCAL_RANK": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert call(*command, "run_dir=shared")[0] == 0
    said = second.communicate()[1]
    assert second.returncode == 0, said
    assert "this process has done its share" in said
    assert [item["key"] for item in files.read_json("shared/items.json")["items"]] == [
        "turned-0", "turned-180", "turned-90",
    ]  # fmt: skip
    for name in ("turned-0", "turned-180", "turned-90"):
        video = f"videos/{name}.mp4"
        assert files.sha256_file(f"shared/{video}") == files.sha256_file(f"alone/{video}")


def test_only_what_changed_or_is_missing_is_made_again(call, small_model, photo, tmp_path):
    Image.open(photo).rotate(90).save(tmp_path / "second.png")
    command = ["animate", f"pretrained={small_model}", f"image={tmp_path}", *QUICK, SHORT]
    command.append("run_dir=out")
    assert call(*command, "prompt=one")[0] == 0
    before = files.sha256_file("out/videos/photo.mp4")
    (tmp_path / "out/videos/second.mp4").unlink()
    (tmp_path / "out/done.json").unlink()
    assert call(*command, "prompt=one")[0] == 0
    assert files.read_json("out/done.json")["summary"]["reused"] == 1
    assert call(*command, "prompt=one", "sampling.seed=5")[0] == 0
    assert files.read_json("out/done.json")["summary"]["reused"] == 0
    assert files.sha256_file("out/videos/photo.mp4") != before


def test_interpolation_and_other_frame_counts(call, small_model, photo):
    command = ["animate", f"pretrained={small_model}", f"image={photo}", "prompt=one", *QUICK]
    code, said = call(
        *command, "run_dir=out", "sampling.mode=interp", f"last_image={photo}", "sampling.frames=5"
    )
    assert code == 0, said
    assert said.startswith("warning: frames=5, but the model was trained on 16")
    assert probe("out/videos/photo.mp4").frames == 5
    assert files.read_json("out/videos/photo.json")["warnings"]


def test_gates(call, small_model, photo):
    command = ["animate", "gates", f"pretrained={small_model}", "tracking=disabled", "run_dir=out"]
    code, said = call(*command)
    assert code == 0, said
    gates = files.read_json("out/gates.json")["gates"]
    assert len(gates) == 4
    assert {(gate["value"], gate["learned"]) for gate in gates} == {(1.0, True)}
    page = Path("out/gates.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "<video" not in page
    code, said = call(
        *command, f"image={photo}", "prompt=<b>one</b>", "sampling.steps=2", SHORT,
        "layers=[middle_block,output_blocks.0]", "factors=[0,1,1.5]",
    )  # fmt: skip
    assert code == 0, said
    page = Path("out/gates.html").read_text(encoding="utf-8")
    assert page.count("<video") == 2 * 3
    assert "&lt;b&gt;one" in page
    assert "<b>" not in page
    record = files.read_json("out/videos/photo-output_blocks_0-1_5.json")
    assert record["settings"]["gates"] == {"output_blocks.0": 1.5}
    code, said = call(*command, f"image={photo}", "prompt=one", "layers=[middle]")
    assert code == 2
    assert "there is no layer 'middle'; the layers are input_blocks.3, " in said


def refused(answer, said):
    code, stderr = answer
    assert code == 2, stderr
    assert said in stderr
    assert stderr.startswith("dynamicrafter: ")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["sampling.steps=0"], "steps is 0; choose 1 to 1000"),
        (["sampling.steps=many"], "'many'"),
        (["prompt="], "the prompt of photo is empty"),
        ([f"prompt={' '.join(['word'] * 500)}"], "has 500 words, 500 tokens"),
        (["image=nowhere.png"], "image=nowhere.png: no such image"),
        (["batch=0"], "batch is 0"),
        (["fit=zoom"], "fit=zoom; choose crop, pad, stretch"),
        (["precision=fp16"], "precision=fp16; choose auto, fp32, bf16"),
        (["device=cuda:99"], "device=cuda:99"),
        (["sampling.mode=interp"], "mode=interp needs a last image"),
        (["sampling.gates={middle: 2}"], "there is no layer 'middle'"),
        (["pretrained=nowhere"], "pretrained=nowhere: no such model folder or checkpoint"),
        (["run_dir=photo.png"], "photo.png is a file; choose another run_dir"),
        (["run_dir=/proc/nowhere/out"], "/proc/nowhere/out cannot be made"),
    ],
)
def test_settings_that_cannot_be(call, small_model, photo, settings, said):
    command = ["animate", f"pretrained={small_model}", "image=photo.png", "prompt=waves", *QUICK]
    refused(call(*command, "run_dir=out", *settings), said)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: Image.new("RGB", (1, 1)).save(path), "1x1 pixels"),
        (lambda path: Image.new("RGB", (12000, 200)).save(path), "12000x200 pixels"),
        (lambda path: Image.new("RGBA", (64, 64)).save(path), "has an alpha channel"),
        (lambda path: Image.new("CMYK", (64, 64)).save(path, "JPEG"), "colours of mode CMYK"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "is no readable image"),
        (lambda path: Image.new("1", (20000, 20000)).save(path), "far more pixels than"),
        (lambda path: Image.new("1", (10000, 10000)).save(path), "more than the 64000000 allowed"),
    ],
    ids=["1x1", "12000x200", "alpha", "cmyk", "broken", "bomb", "large"],
)
def test_images_that_cannot_be(call, small_model, tmp_path, write, said):
    write(tmp_path / "photo.png")
    command = ["animate", f"pretrained={small_model}", "image=photo.png", "prompt=waves", *QUICK]
    refused(call(*command, "run_dir=out"), said)


class Payload:
    def __reduce__(self):
        return (print, ("this must not run",))


def damage(small_model, path, kind):
    """A checkpoint that is none, or none of this model."""
    tensors = read_state_dict(small_model / "model.safetensors")
    if kind == "nan":
        tensors["model.diffusion_model.out.2.bias"] = torch.full((4,), float("nan"))
    if kind == "other":
        tensors = {n: t for n, t in tensors.items() if not n.startswith("image_proj_model.")}
    if kind == "code":
        torch.save({"state_dict": tensors, "callbacks": Payload()}, path)
    else:
        save_weights(path, tensors)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    if kind == "html":
        path.write_text("<!DOCTYPE html><html>sign in</html>")
    if kind == "empty":
        path.write_bytes(b"")
    if kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut", "m."),
        ("html", "are a web page"),
        ("empty", "are an empty file"),
        ("pointer", "are a Git LFS pointer"),
        ("code", "hold Python objects (print"),
        ("nan", "out.2.bias holds NaN"),
        ("other", "lack 18 tensors that the model needs, such as image_proj_model.latents"),
    ],
)
def test_checkpoints_that_cannot_be(call, small_model, photo, tmp_path, kind, said, suffix):
    if (kind, suffix) == ("code", "safetensors"):
        said = "are a torch file; give them the suffix .ckpt"
    damage(small_model, tmp_path / f"m.{suffix}", kind)
    command = ["animate", f"pretrained=m.{suffix}", f"kind={small_model / 'model.yaml'}"]
    answer = call(*command, f"image={photo}", "prompt=waves", *QUICK, "run_dir=out")
    refused(answer, said)


def test_eps_at_zero_terminal_snr_is_refused(call, small_model, photo, tmp_path):
    text = (small_model / "model.yaml").read_text()
    (tmp_path / "eps.yaml").write_text(text.replace("parameterization: v", "parameterization: eps"))
    command = ["animate", f"pretrained={small_model / 'model.safetensors'}", "kind=eps.yaml"]
    answer = call(*command, f"image={photo}", "prompt=waves", *QUICK, "run_dir=out")
    refused(answer, "eps cannot be predicted at zero terminal SNR")


def test_help_explains_fs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dynamicrafter", "animate", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "In the 256 model fs is a frame stride, 1 to 6" in shown
    assert "frames per second of the written files" in shown
