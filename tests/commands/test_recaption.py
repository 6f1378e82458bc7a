"""Shards that are captioned anew: the same videos, other words, what was said before."""

import contextlib
import json

import pytest
from hydra import compose, initialize_config_module

from curation import engines
from curation.captions.caption import Caption
from curation.captions.shards import new_info
from curation.commands import recaption as command
from dynamicrafter.command import run_in_folder
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.files import read_json
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.shards import Sample, ShardReader, write_shards
from tests.curation.captions import faulty_server
from tests.curation.captions.faulty_server import FaultyServer, good_answer
from tests.curation.films import Inline
from tests.media.clips import numbered_frames

FRAMES = 20


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two splits of small shards: six and two samples, two in a shard."""
    folder = tmp_path_factory.mktemp("old")
    frames = numbered_frames(FRAMES + 8)
    for split, numbers in (("train", range(6)), ("test", range(6, 8))):
        samples = []
        for number in numbers:
            info = {
                "fps": 10.0, "frames": FRAMES, "width": 96, "height": 64,
                "name": f"A dog on a beach, take {number}", "dynamic_wording": f"old {number}",
                "dynamic_confidence": 11, "dynamic_source_category": "none",
                "videoid": f"v{number}", "caption": {"source": "embedded"},
                "source": {"name": "x", "media_may_be_passed_on": number != 3},
                "measures": {"camera_motion": {"value": 0.5 if number else "x", "unit": "1/s"}},
                "digests": {"encode": "e", "captioner": "old"},
            }  # fmt: skip
            video = encode_mp4(list(frames[number : number + FRAMES]), 10)
            samples.append(Sample(f"clip-{number}", video, f"old {number}", info))
        size = sum(len(sample.video) + 4096 for sample in samples[:2])
        write_shards(
            folder / split, samples, name=split, config_digest="old", shard_bytes=size - 4096
        )
    assert len(ShardReader(folder / "train").manifest["shards"]) > 1
    return folder


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    """An engine without processes."""
    monkeypatch.setattr(
        command, "open_engine", lambda settings, seat: contextlib.nullcontext(Inline())
    )


@pytest.fixture
def server():
    with FaultyServer() as server:
        yield server


def recaption(shards, server, run_dir, *overrides, captioner="vlm"):
    """Run the command in this process; its summary."""
    cache = run_dir.parent / "cache"
    with initialize_config_module("conf", version_base="1.3"):
        config = compose(
            "recaption",
            [
                f"dataset={shards}", f"run_dir={run_dir}", f"captioner={captioner}",
                "tracking=disabled", "workers=1",
                *(
                    [] if captioner == "embedded" else [
                        f'captioner.client.servers=["{server.url}"]', f"captioner.cache={cache}",
                        "captioner.client.wait_s=3", "captioner.client.retry_base_s=0.01",
                        "captioner.client.tries=2", "captioner.client.failures=2",
                    ]
                ),
                *overrides,
            ],
        )  # fmt: skip
    run_in_folder(config, "curation.commands.recaption")
    return read_json(run_dir / "summary.json")


def samples_of(folder):
    found = {}
    for split in ("train", "test"):
        reader = ShardReader(folder / split, verify=True)
        found |= {key: reader[number] for number, key in enumerate(reader.keys)}
    return found


def test_videos_stay_and_words_change(shards, server, tmp_path):
    run = tmp_path / "run"
    summary = recaption(shards, server, run)
    old, new = samples_of(shards), samples_of(run / "dataset")
    assert list(new) == list(old)
    assert len(set(server.digests)) == len(old) == 8
    for key, sample in new.items():
        before = old[key].info
        assert sample.video == old[key].video
        assert sample.text == sample.info["dynamic_wording"] == sample.info["caption"]["annotated"]
        assert sample.text.split()[0] in ("Man", "Dog", "Car", "Leaf")
        assert sample.info["caption"]["source"] == "vlm_pixels"
        (previous,) = sample.info["previous"]
        said = ("dynamic_wording", "dynamic_confidence", "dynamic_source_category", "caption")
        assert previous == {name: before[name] for name in said}
        assert sample.info["digests"]["encode"] == "e"
        assert sample.info["digests"]["captioner"] != "old"
        untouched = set(before) - {*said, "digests"}
        assert all(sample.info[name] == before[name] for name in untouched)
    assert (run / "dcp.csv").read_text().count("\n") == 9
    assert summary["dataset"]["train"]["samples"] == 6
    assert summary["captions"]["source"] == {"vlm_pixels": 8}
    bodies = [json.loads(body) for body in server.bodies]
    hints = [part["text"] for body in bodies for part in body["messages"][1]["content"][2:]]
    assert len(hints) == 7  # one sample's camera is no number
    assert all("the camera moves" in hint for hint in hints)


def test_a_cached_dataset_is_captioned_without_a_request(shards, server, tmp_path, monkeypatch):
    first = recaption(shards, server, tmp_path / "one")
    monkeypatch.setattr(command, "open_engine", engines.open_engine)  # with processes
    second = recaption(shards, server, tmp_path / "two")
    assert len(server.digests) == 8
    assert second["root_digest"] == first["root_digest"]
    assert second["captioned_now"]["cached"] == 8
    for path in (tmp_path / "one" / "dataset").rglob("*.tar"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert other.read_bytes() == path.read_bytes()


def test_text_to_text_reads_the_stock_caption_of_each_sample(shards, server, tmp_path):
    recaption(shards, server, tmp_path / "run", captioner="vlm_text")
    texts = {json.loads(body)["messages"][1]["content"][0]["text"] for body in server.bodies}
    assert texts == {f"<caption>A dog on a beach, take {n}</caption>" for n in range(8)}
    sources = {s.info["caption"]["source"] for s in samples_of(tmp_path / "run/dataset").values()}
    assert sources == {"vlm_text"}


def test_a_recaptioned_dataset_can_be_captioned_again(shards, server, tmp_path):
    recaption(shards, server, tmp_path / "one")
    recaption(tmp_path / "one", server, tmp_path / "two", captioner="vlm_text")
    sample = samples_of(tmp_path / "two" / "dataset")["clip-5"]
    sources = [one["caption"]["source"] for one in sample.info["previous"]]
    assert sources == ["embedded", "vlm_pixels"]


def test_a_faulty_server_costs_no_clip(shards, server, tmp_path):
    server.script = [
        *("500", "cut_json", "prose", "reset", "429_after", "empty", "length", "huge", "control"),
        *("enum", "html", "short", "no_choices", "closed", "surrogate", "502"),
    ]
    limits = ["captioner.client.tries=20", "captioner.client.failures=20"]
    summary = recaption(shards, server, tmp_path / "run", *limits)
    assert summary["captioned_now"]["captioned"] == 8
    assert len(server.digests) == 8 + len(server.script)
    assert len(set(server.digests)) == 8
    undisturbed = recaption(shards, server, tmp_path / "other")
    assert summary["root_digest"] == undisturbed["root_digest"]


def test_impure_words_are_asked_again_taken_out_or_put_aside(shards, server, tmp_path, monkeypatch):
    numbers = {}

    def reply(question):
        first = json.dumps(question["messages"][:2])
        number = numbers.setdefault(first, len(numbers))
        good = json.loads(good_answer(question))
        is_second = len(question["messages"]) > 2
        bad = {
            0: {} if is_second else {"subject": "red man"},  # mends it
            1: {"subject": "red man", "motion": "running"},  # does not
            2: {"subject": "red", "motion": "beach"},  # and there is nothing to be saved
        }
        return json.dumps(good | bad.get(number, {}))

    monkeypatch.setattr(faulty_server, "good_answer", reply)
    summary = recaption(shards, server, tmp_path / "run", "tracking=offline")
    assert len(server.digests) == 8 + 3
    complaints = [json.loads(body)["messages"][2:] for body in server.bodies]
    told = [messages[1]["content"] for messages in complaints if messages]
    assert len(told) == 3
    assert sum("red." in text for text in told) == 2
    assert sum("red, beach." in text for text in told) == 1
    counts = {"asked_again": 3, "stripped": 1, "quarantined": 1}
    assert {name: summary["captions"][name] for name in counts} == counts
    texts = [sample.text for sample in samples_of(tmp_path / "run" / "dataset").values()]
    assert len(texts) == 7
    assert "Man running." in texts
    assert not any("red" in text.lower().split() for text in texts)
    (line,) = map(json.loads, (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines())
    assert (line["reason"], line["last_wording"]) == ("caption_impure", "Red beach.")
    assert (line["verdict"], line["offending"]) == ("no_motion", ["red", "beach"])
    assert line["original"].startswith("A dog on a beach")
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/files/media/table/captions*.json")
    table = read_json(path)
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    assert len(rows) == 8
    refused = rows.pop(line["key"])
    assert refused["offending"] == "red, beach"
    assert {refused[name] for name in ("reason", "verdict")} == {"impure", "no_motion"}
    assert all(row["reason"] is None and row["dynamic_wording"] for row in rows.values())


def lose(name):
    """A script that spoils every answer about both samples of the test split, which come last."""
    numbers = {}

    def behave(number, question):
        text = json.dumps(question["messages"][:2])
        return name if numbers.setdefault(text, len(numbers)) >= 6 else "good"

    return behave


def test_samples_without_a_good_caption_are_left_out(shards, server, tmp_path):
    server.script = lose("enum")
    recaption(shards, server, tmp_path / "run")
    assert sorted(samples_of(tmp_path / "run" / "dataset")) == [f"clip-{n}" for n in range(6)]
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {"caption_wrong_value"}
    asked = len(server.digests)
    summary = recaption(shards, server, tmp_path / "run", "captioner.on_failure=keep")
    assert len(server.digests) == asked
    samples = samples_of(tmp_path / "run" / "dataset")
    assert {samples[key].text for key in ("clip-6", "clip-7")} == {"none"}
    assert summary["captions"]["quarantined"] == 2


def test_samples_without_an_answer_are_asked_about_again(shards, server, tmp_path):
    server.script = lose("500")
    with pytest.raises(FailedShareError, match="2 of 8 clips got no answer"):
        recaption(shards, server, tmp_path / "run")
    assert not (tmp_path / "run" / "dataset").exists()
    summary = recaption(shards, server, tmp_path / "run", "captioner.max_unanswered_share=0.5")
    assert summary["captions"]["unanswered"] == 2
    server.script, asked = (), len(server.digests)
    summary = recaption(shards, server, tmp_path / "run", "captioner.max_unanswered_share=0.5")
    assert len(server.digests) == asked + 2
    assert summary["captions"]["unanswered"] == 0
    undisturbed = recaption(shards, server, tmp_path / "other")
    assert summary["root_digest"] == undisturbed["root_digest"]


def test_pictures_that_may_not_leave_are_not_sent(shards, server, tmp_path, monkeypatch):
    monkeypatch.setattr("curation.captions.media._is_here", lambda url: False)
    with pytest.raises(InputError, match="sample clip-3 does not say"):
        recaption(shards, server, tmp_path / "run")
    recaption(shards, server, tmp_path / "run", "allow_media=true")
    assert len(samples_of(tmp_path / "run" / "dataset")) == 8


def test_what_cannot_be_asked_for_is_said(shards, server, tmp_path):
    with pytest.raises(InputError, match="recaption takes vlm"):
        recaption(shards, server, tmp_path / "run", captioner="embedded")
    own = tmp_path / "own"
    (own / "dataset").parent.mkdir()
    (own / "dataset").symlink_to(shards)
    with pytest.raises(InputError, match="holds the dataset itself"):
        recaption(own, server, own)


def test_hostile_json_is_named(server, tmp_path):
    info = {"fps": 10.0, "frames": FRAMES, "name": 3, "measures": [], "digests": 7, "x": "\ud800"}
    frames = numbered_frames(FRAMES)
    good = {**info, "x": "y"}
    video = encode_mp4(list(frames), 10)
    write_shards(tmp_path / "a", [Sample("k", video, "t", good)], name="a", config_digest="c")
    recaption(tmp_path / "a", server, tmp_path / "run")
    (sample,) = ShardReader(tmp_path / "run" / "dataset" / "a")
    assert sample.info["previous"] == [{"text": "t"}]
    said = Caption("a", 1, "none", "a", "vlm_pixels")
    entry = ShardReader(tmp_path / "a").entry(0)
    for bad in (info, {**info, "x": float("nan")}):
        with pytest.raises(InputError, match="JSON of sample k cannot be written"):
            new_info(Sample("k", b"", "t", bad), entry, said, "d")
