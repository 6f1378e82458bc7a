"""What a command animates: images, folders, CSVs, and what is refused before anything starts."""

import csv

import pytest
from PIL import Image

from dynamicrafter import items
from dynamicrafter.errors import InputError
from dynamicrafter.items import Reading


def read(path, prompt="moving", **arguments):
    return items.read_items(str(path), prompt, None, (16, 16), **arguments)


def write_csv(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "Red Boat.png")
    Image.new("L", (30, 20)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_and_a_csv(folder):
    found = read(folder)
    assert [item.prompt for item in found] == ["moving", "moving"]
    assert all(item.image.shape == (16, 16, 3) for item in found)
    table = write_csv(folder / "pairs.csv", ["image", "prompt"], ["b.jpg", 'waves, "big" ones'])
    (item,) = read(table, None)
    assert (item.key, item.prompt, item.last) == ("b", 'waves, "big" ones', None)


def test_a_last_image(folder):
    (item,) = read(folder / "b.jpg", last_image=str(folder / "Red Boat.png"))
    assert item.last[8, 8].tolist() == [255, 0, 0]
    table = write_csv(
        folder / "ends.csv", ["image", "prompt", "last_image", "key"], ["b.jpg", "x", "b.jpg", "k"]
    )
    (item,) = read(table, None)
    assert item.key == "k"
    assert item.last.shape == (16, 16, 3)
    with pytest.raises(InputError, match="last_image goes with a single image"):
        read(folder, last_image="b.jpg")
    with pytest.raises(InputError, match=r"gone\.png: no such image"):
        read(folder / "b.jpg", last_image=str(folder / "gone.png"))


@pytest.mark.parametrize("cell", [b"caf\xe9", b"x" * 200_000])
def test_a_broken_csv_is_named(tmp_path, cell):
    (tmp_path / "pairs.csv").write_bytes(b"image,prompt\na.png," + cell + b"\n")
    with pytest.raises(InputError, match=r"pairs\.csv is no CSV in UTF-8"):
        items.digest(str(tmp_path / "pairs.csv"))


def test_the_digest_covers_every_image(tmp_path):
    def digest(colour, text="image,prompt\na.png,x\n"):
        Image.new("RGB", (20, 20), colour).save(tmp_path / "a.png")
        (tmp_path / "pairs.csv").write_text(text)
        return items.digest(str(tmp_path / "pairs.csv"))

    assert digest("red") == digest("red")
    assert digest("red") != digest("blue")
    assert digest("red") != digest("red", "image,prompt\na.png,y\n")
    assert digest("red") != digest("red", "image,prompt,last_image\na.png,x,a.png\n")
    alone, first = str(tmp_path / "b.png"), str(tmp_path / "a.png")
    Image.new("RGB", (20, 20)).save(alone)
    assert items.digest(first) != items.digest(first, alone)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.png: no such image"):
        items.digest(str(tmp_path / "pairs.csv"))


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(folder, count):
    with pytest.raises(InputError, match=f"count is {count}; it must be at least 1"):
        items.read_items(str(folder), "x", count, (16, 16))


def test_a_csv_cannot_reach_outside_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for column in ("image", "last_image"):
        row = ["a.png", "x", "a.png"]
        row[0 if column == "image" else 2] = "../secret.png"
        table = write_csv(tmp_path / "in" / "t.csv", ["image", "prompt", "last_image"], row)
        with pytest.raises(InputError, match="leaves the folder"):
            read(table, None)


def test_a_missing_or_empty_prompt_is_named(folder):
    with pytest.raises(InputError, match="b has no prompt"):
        read(folder / "b.jpg", None)
    for empty in ("", "  \n"):
        with pytest.raises(InputError, match="the prompt of b is empty"):
            read(folder / "b.jpg", empty)
    with pytest.raises(InputError, match="the prompt of b is empty"):
        read(write_csv(folder / "t.csv", ["image", "prompt"], ["b.jpg", " "]), None)


def test_a_prompt_is_read_to_its_end_or_refused(folder):
    fits = " ".join(["word"] * 75)
    assert read(folder / "b.jpg", fits)[0].prompt == fits
    with pytest.raises(InputError, match="has 500 words, 500 tokens; 75 are read: shorten it"):
        read(folder / "b.jpg", " ".join(["word"] * 500))
    with pytest.raises(InputError, match="has 76 words"):
        read(folder / "b.jpg", fits + " word")
    cut = read(folder / "b.jpg", fits + " word", reading=Reading(long_prompts="cut"))
    assert cut[0].prompt == fits + " word"
    with pytest.raises(InputError, match="long_prompts=wrap; choose refuse, cut"):
        Reading(long_prompts="wrap")


def test_names_that_collide_and_things_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="no such image, folder or CSV"):
        read(tmp_path / "none.png")
    with pytest.raises(InputError, match="no image there"):
        read(tmp_path)
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    with pytest.raises(InputError, match="several items are named a"):
        read(tmp_path)
