"""Small copies of UCF-101 and MSR-VTT with the traps of the real ones, and runs over them."""

import json

from hydra import compose, initialize_config_module

from dynamicrafter.command import run_in_folder
from dynamicrafter.files import read_json
from tests.media.clips import numbered_frames, write_video

CLASSES = ("Hammering", "HammerThrow", "HandstandPushups")  # the official order, no sorting
MINI = ("protocol.name=mini", "protocol.resolution=[24,24]", "workers=0")
UCF_SIZES = "benchmark.expected={classes: 3, trainlist01: 6, testlist01: 8, trainlist02: 8, " \
    "testlist02: 6, videos: null}"  # fmt: skip
MSRVTT_SIZES = "benchmark.expected={train: 2, val: 1, test: 3, videos: 6, captions: 20, 1k-A: 3}"
IDS = {2: "train", 10: "train", 6513: "validate", 7010: "test", 7011: "test", 9999: "test"}
QUOTED = 'a man says "hello, you", then leaves'
FOREIGN = "ein Mädchen läuft über die Straße"


def clip(path, number, frames=50):
    """A clip of its own content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = numbered_frames(frames, (32, 48))
    pictures[:, 16:, 40:] = (37 * number) % 256, number, 255 - number
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"
    return write_video(path, pictures, codec, fps=25)


def ucf101(root):
    """Split 1 tests group 1 and trains on group 8, split 2 the other way round."""
    videos = {
        "Hammering": ["g01_c01", "g01_c02", "g08_c01", "g08_c02"],
        "HammerThrow": ["g01_c01", "g01_c02", "g08_c01"],
        "HandstandPushups": ["g01_c01", "g01_c02", "g01_c03", "g01_c04", "g08_c01", "g08_c02",
                             "g08_c03"],
    }  # fmt: skip
    names = [
        f"{name}/v_{'HandStandPushups' if name[:4] == 'Hand' else name}_{clip_name}.avi"
        for name in CLASSES
        for clip_name in videos[name]
    ]
    folder = root / "UCF-101"
    for number, name in enumerate(names):
        clip(folder / name, number, 20 if "HandStandPushups_g01_c02" in name else 50)
    broken = folder / "Hammering/v_Hammering_g01_c02.avi"
    broken.write_bytes(broken.read_bytes()[:5000])
    (folder / "HammerThrow/v_HammerThrow_g01_c02.avi").unlink()
    whole = folder / "HandstandPushups/v_HandStandPushups_g01_c03.avi"
    whole.with_name("v_HandStandPushups_g01_c04.avi").write_bytes(whole.read_bytes())
    clip(folder / "Hammering/v_Hammering_g09_c01.avi", 99)
    (folder / "Juggling").mkdir()
    (folder / "Hammering/Thumbs.db").write_bytes(b"-")
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    first = [name for name in names if "_g01_" in name]
    second = [name for name in names if "_g08_" in name]
    crlf(lists / "classInd.txt", [f"{n} {name}" for n, name in enumerate(CLASSES, start=1)])
    for split, test, train in (1, first, second), (2, second, first):
        labelled = [f"{one} {CLASSES.index(one.split('/')[0]) + 1}" for one in train]
        crlf(lists / f"testlist0{split}.txt", test)
        crlf(lists / f"trainlist0{split}.txt", labelled)
    return root


def crlf(path, lines):
    path.write_bytes("".join(line + "\r\n" for line in lines).encode())


def captions(number):
    texts = [f"caption {i:02} of {number}" for i in range(20)]
    if number == 7010:
        texts[3] = QUOTED
        texts[4] = FOREIGN
        texts[6] = "=1+1 is written on a board"
    return texts


def msrvtt_document(ids):
    """Sentences in disorder, keys with spaces as in the official files."""
    urls = {7011: "https://example.org/same", 2: "https://example.org/same"}
    videos = [
        {"video_id": f"video{n}", "id": n, "category": n % 3, "split": IDS[n],
         "url": urls.get(n, f"https://example.org/{n}"), "start time": 1.0, "end time": 11.0}
        for n in ids
    ]  # fmt: skip
    sentences = [
        {"video_id": f"video{n}", "caption": text, "sen_id": i}
        for i in (*range(1, 20, 2), *range(0, 20, 2))
        for n, text in ((n, captions(n)[i]) for n in sorted(ids, reverse=True))
    ]
    return {"info": {}, "videos": videos, "sentences": sentences}


def msrvtt(root, layout="official"):
    """`official` (two JSON files, TrainValVideo/ and TestVideo/), `merged` (videos/all/) or `flat`.

    video7011.mp4 is missing.
    """
    root.mkdir(parents=True, exist_ok=True)
    place = {"official": root, "merged": root / "annotation", "flat": root}[layout]
    place.mkdir(exist_ok=True)
    test = [n for n in IDS if n >= 7010]
    rest = [n for n in IDS if n < 7010]
    if layout == "official":
        write(place / "test_videodatainfo.json", msrvtt_document(test))
        write(place / "train_val_videodatainfo.json", msrvtt_document(rest))
    else:
        write(place / "MSRVTT_data.json", msrvtt_document([*test, *rest]))
    for number in IDS:
        folder = {"official": "TestVideo" if number >= 7010 else "TrainValVideo",
                  "merged": "videos/all", "flat": "."}[layout]  # fmt: skip
        if number != 7011:
            clip(root / folder / f"video{number}.mp4", number % 251)
    return root


def write(path, document):
    path.write_text(json.dumps(document), encoding="utf-8")


def composed(*overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose("eval_select", [*MINI, *overrides])


def select(folder, *overrides):
    """Run the command into a folder; returns what integrity.json says."""
    run_in_folder(composed(f"run_dir={folder}", *overrides), "eval.benchmarks.select")
    return read_json(folder / "integrity.json")
