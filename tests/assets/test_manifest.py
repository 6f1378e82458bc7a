import pytest
import yaml

from dynamicrafter.assets.manifest import MANIFEST, load_manifest, read_manifest
from dynamicrafter.errors import InputError


def test_the_shipped_list_pins_everything_and_names_licence_and_author():
    assets = load_manifest()
    videos = [name for name, asset in assets.items() if asset.kind == "video"]
    assert videos == ["sports2d", *(f"pose2sim-cam0{i}" for i in range(1, 5)), "big-buck-bunny"]
    assert assets["big-buck-bunny"].source.attribution == (
        "Big Buck Bunny, © 2008 Blender Foundation, CC BY 3.0, peach.blender.org"
    )
    assert assets["i3d-kinetics-400"].file_name == "i3d-kinetics-400.safetensors"
    for asset in assets.values():
        assert asset.source.licence
        assert asset.source.attribution
    assert [name for name, asset in assets.items() if not asset.demo] == ["lpips-alexnet"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("assets", "sports2d", "sha256", "abc"), "sha256 'abc' is not 64"),
        (("assets", "sports2d", "size", "large"), "'size' is 'large', not a int"),
        (("assets", "sports2d", "source", "nowhere"), "'source' names none of"),
        (("assets", "sports2d", "colour", "red"), "unknown key 'colour'"),
        (("assets", "sports2d", "convert", "pickle"), "no conversion 'pickle'"),
        (("sources", "sports2d", "origin", "ftp"), "origin 'ftp' is none of"),
        (("sources", "sports2d", "origin", "hub"), "origin hub needs 'repo'"),
        (("sources", "sports2d", "version", 1.0), "'version' is 1.0, not a str"),
        (("sources", "sports2d", "file", "../x.whl"), "not a plain file name"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, change, complaint):
    content = yaml.safe_load(MANIFEST.read_text())
    section, name, key, value = change
    content[section][name][key] = value
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=complaint):
        read_manifest(path)


@pytest.mark.parametrize("text", ["[", "just text", "sources: {}", "sources: []\nassets: {}"])
def test_a_file_that_is_no_manifest_is_one_line(tmp_path, text):
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_names_of_the_shipped_list_cannot_be_taken_over(monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_MANIFEST", str(MANIFEST))
    with pytest.raises(InputError, match="'big-buck-bunny' is already taken"):
        load_manifest()
