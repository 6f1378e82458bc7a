import pytest

from dynamicrafter.assets.command import main
from dynamicrafter.errors import InputError

CLIP = b"clip" * 100


@pytest.fixture(autouse=True)
def toy(tmp_path, cache, add_manifest):
    (tmp_path / "w.bin").write_bytes(CLIP)
    origin = {"origin": "file", "path": str(tmp_path / "w.bin")}
    add_manifest(CLIP, "clip.mp4", {"clip": {"data": CLIP}}, **origin)


def test_list_fetch_verify(capsys, cache):
    assert main(["list", "clip"]) == 0
    assert "absent" in capsys.readouterr().out
    assert main(["fetch", "clip"]) == 0
    assert str(cache) in capsys.readouterr().out
    assert main(["verify", "clip"]) == 0
    assert capsys.readouterr().out.split() == ["whole", "clip"]


def test_without_names_all_are_listed_with_their_authors(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "big-buck-bunny" in shown
    assert "Blender Foundation" in shown
    assert "clip" in shown


def test_verify_fails_on_what_is_not_whole(capsys):
    with pytest.raises(InputError, match="1 of 1 not whole; run: dynamicrafter assets fetch clip"):
        main(["verify", "clip"])


def test_an_unknown_name_is_an_input_error():
    with pytest.raises(InputError, match="no asset 'nothing'"):
        main(["fetch", "nothing"])


def test_an_unknown_action_is_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["burn"])
    assert caught.value.code == 2
    assert "usage: dynamicrafter assets" in capsys.readouterr().err
