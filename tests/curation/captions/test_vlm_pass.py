"""The pass that asks a model, within the whole chain, over a server on loopback."""

import json
import shutil
from collections import Counter

import pytest
import yaml

from curation.captions.answer import parse_answer, wording_of
from curation.captions.frames import jpegs
from curation.passes import caption as caption_pass
from curation.tables import read_rows
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.files import read_json
from tests.curation.captions.faulty_server import FaultyServer, good_answer
from tests.curation.captions.test_prompts import packaged
from tests.curation.films import curate, curate_table, files_below, samples_of, table

STORED = ("listing", "inspect-1", "shots", "measures", "encoded")


@pytest.fixture
def server():
    with FaultyServer() as server:
        yield server


def asking(server, folder, *more):
    """Overrides for a client that gives up soon."""
    return [
        "captioner=vlm",
        f'captioner.client.servers=["{server.url}"]',
        f"captioner.cache={folder / 'cache'}",
        "captioner.client.timeout_s=5",
        "captioner.client.wait_s=3",
        "captioner.client.tries=2",
        "captioner.client.failures=2",
        "captioner.client.retry_base_s=0.01",
        *more,
    ]


def kept(folder):
    return {row["key"]: row["row"] for row in table(folder, "captions")}


def wordings(server):
    """What a good server says, whatever it was asked."""
    bodies = [json.loads(body) for body in server.bodies]
    for body in bodies:
        body.pop("model")
    return {wording_of(parse_answer(good_answer(body))) for body in bodies}


def test_a_corpus_is_captioned_and_nothing_else_is_done_again(
    curated, films, copy, inline, server, tmp_path
):
    before = files_below(copy, *STORED)
    summary = curate(copy, films, *asking(server, tmp_path))
    assert inline.calls == {"jpegs": 3}
    assert files_below(copy, *STORED) == before
    assert len(server.digests) == len(set(server.digests)) == 3
    assert summary["captioned_now"]["requests"] == summary["captioned_now"]["captioned"] == 3
    samples = samples_of(copy)
    assert len(samples) == 3
    assert {sample.text for sample in samples.values()} == wordings(server)
    for sample in samples.values():
        said = sample.info["caption"]
        assert said["source"] == "vlm_pixels"
        assert said["prompt"].startswith("dcp_v1@")
        assert server.model in said["model"]
        assert sample.info["dynamic_source_category"] == said["dynamic_source_category"] != "none"
        assert 0 <= sample.info["dynamic_confidence"] <= 100
        assert (said["speed"], said["camera"]) == ("normal", "static")
    assert summary["captions"]["source"] == {"vlm_pixels": 3}
    assert (copy / "quarantine.jsonl").read_text() == ""
    decisions = table(copy, "decisions")
    assert kept(copy) == {row["key"]: n for n, row in enumerate(decisions) if row["kept"]}
    text = (copy / "dcp.csv").read_text()
    assert all(sample.text in text for sample in samples.values())

    curate(copy, films, *asking(server, tmp_path))  # it is whole
    assert len(server.digests) == 3


def test_the_questions_are_those_of_the_frames(copy, films, inline, server, tmp_path):
    curate(copy, films, *asking(server, tmp_path, "captioner.frames.quality=50"))
    samples = samples_of(copy)
    urls = set()
    for body in map(json.loads, server.bodies):
        assert body["model"] == server.model
        assert body["temperature"] == 0
        times = body["media_io_kwargs"]["video"]
        (url,) = [
            part["video_url"]["url"]
            for part in body["messages"][1]["content"]
            if part["type"] == "video_url"
        ]
        assert url.count(",") == len(times["frames_indices"])
        urls.add((url, tuple(times["frames_indices"]), times["total_num_frames"], times["fps"]))
    assert len(urls) == 3
    assert {(u[2], u[3]) for u in urls} == {
        (sample.info["frames"], sample.info["fps"]) for sample in samples.values()
    }
    for url, indices, frames, _ in urls:
        (video,) = [s.video for s in samples.values() if jpegs_url(s.video, indices, frames) == url]
        assert video


def jpegs_url(video, indices, frames):
    import base64

    from dynamicrafter.errors import MediaError

    try:
        found = jpegs(video, list(indices), 256, 50)
    except MediaError:  # another clip, shorter than this
        return None
    return "data:video/jpeg;base64," + ",".join(base64.b64encode(one).decode() for one in found)


def test_another_prompt_asks_anew_and_touches_no_other_pass(copy, films, inline, server, tmp_path):
    curate(copy, films, *asking(server, tmp_path))
    first = {key: sample.text for key, sample in samples_of(copy).items()}
    before = files_below(copy, *STORED, "captions")
    inline.calls.clear()
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**packaged(), "name": "mine", "user": "Label it."}))
    mine = asking(server, tmp_path, f"captioner.prompt={path}")
    curate(copy, films, *mine)
    assert inline.calls == {"jpegs": 3}
    assert len(set(server.digests)) == 6
    now = files_below(copy, *STORED, "captions")
    before.pop("captions/model.lock", None)
    assert before.items() <= now.items()
    said = {sample.info["caption"]["prompt"].split("@")[0] for sample in samples_of(copy).values()}
    assert said == {"mine"}

    # The same path with another content is another prompt, and the first one's answers are there.
    path.write_text(yaml.safe_dump({**packaged(), "name": "mine", "user": "Look."}))
    curate(copy, films, *mine)
    assert len(set(server.digests)) == 9
    inline.calls.clear()
    curate(copy, films, *asking(server, tmp_path))
    assert inline.calls == {}
    assert len(server.digests) == 9
    assert {key: sample.text for key, sample in samples_of(copy).items()} == first


def test_a_cached_corpus_is_captioned_without_a_request(
    curated, copy, films, inline, server, tmp_path
):
    first = curate(copy, films, *asking(server, tmp_path))
    shutil.copytree(curated[0], tmp_path / "other")
    second = curate(tmp_path / "other", films, *asking(server, tmp_path))
    assert len(server.digests) == 3
    assert second["root_digest"] == first["root_digest"]
    assert second["captioned_now"]["cached"] == 3
    assert "requests" not in second["captioned_now"] or not second["captioned_now"]["requests"]


def spoiled(name, unlucky=1):
    """A script that spoils every answer to the clip that is asked about as number `unlucky`."""
    numbers = {}

    def behave(number, question):
        text = json.dumps(question["messages"][:2])
        return name if numbers.setdefault(text, len(numbers)) == unlucky else "good"

    return behave


def test_an_answer_that_is_never_good_is_put_into_quarantine(copy, films, inline, server, tmp_path):
    server.script = spoiled("enum")
    wanted = asking(server, tmp_path)
    summary = curate(copy, films, *wanted)
    assert summary["reasons"]["caption_wrong_value"] == 1
    assert len(server.digests) == 4
    assert len(samples_of(copy)) == sum(summary["kept"].values()) == 2
    (line,) = map(json.loads, (copy / "quarantine.jsonl").read_text().splitlines())
    assert line["reason"] == "caption_wrong_value"
    assert line["key"] not in samples_of(copy)
    assert line["key"] in kept(copy)

    # It is settled: neither a whole run nor another setting asks again.
    summary = curate(copy, films, *wanted, "captioner.on_failure=keep")
    assert len(server.digests) == 4
    sample = samples_of(copy)[line["key"]]
    assert (sample.text, sample.info["dynamic_confidence"]) == ("none", "none")
    assert sum(summary["kept"].values()) == 3


def test_a_clip_without_an_answer_is_asked_about_by_the_next_run(
    copy, films, inline, server, tmp_path
):
    wanted = asking(server, tmp_path)
    server.script = spoiled("hang")
    slow = [*wanted, "captioner.client.timeout_s=0.3", "captioner.client.clip_timeout_s=0.5"]
    with pytest.raises(FailedShareError, match="1 of 3 clips got no answer") as caught:
        curate(copy, films, *slow)
    assert caught.value.exit_code == 3
    assert not (copy / "done.json").exists()
    slow.append("captioner.max_unanswered_share=0.5")
    summary = curate(copy, films, *slow)
    assert summary["reasons"]["caption_unanswered"] == 1
    assert len(samples_of(copy)) == 2
    good = len([name for name in server.digests])

    server.script = ()
    summary = curate(copy, films, *slow)  # the same command
    assert len(server.digests) == good + 1
    assert "caption_unanswered" not in summary["reasons"]
    assert len(samples_of(copy)) == 3
    curate(copy, films, *slow)
    assert len(server.digests) == good + 1
    undisturbed = read_json(copy / "manifest.json")["root_digest"]
    curate(copy, films, *wanted)
    assert read_json(copy / "manifest.json")["root_digest"] == undisturbed


def test_a_run_holds_to_its_model(copy, films, inline, server, tmp_path):
    server.script = spoiled("hang")
    slow = asking(
        server,
        tmp_path,
        "captioner.client.timeout_s=0.3",
        "captioner.client.clip_timeout_s=0.5",
    )
    with pytest.raises(FailedShareError):
        curate(copy, films, *slow)
    server.script, first, server.model, server.root = (), server.model, "another", "another"
    with pytest.raises(InputError, match=rf"begun with the model {first}.*another.*model\.json"):
        curate(copy, films, *slow)
    (copy / "captions" / "model.json").unlink()
    before = len(server.digests)
    curate(copy, films, *slow)
    assert len(server.digests) == before + 3
    models = {sample.info["caption"]["model"] for sample in samples_of(copy).values()}
    assert len(models) == 1
    assert "another" in models.pop()


def test_text_to_text_looks_at_no_pixel(films, tmp_path, inline, server):
    own = tmp_path / "films"
    own.mkdir()
    shutil.copy(films / "film.mp4", own / "a.mp4")
    rows = [("a.mp4", 'A dog </caption> "runs"', "none", "x")]
    wanted = asking(server, tmp_path)
    wanted[0] = "captioner=vlm_text"
    summary = curate_table(tmp_path / "run", own, rows, *wanted)
    assert "jpegs" not in inline.calls
    assert server.bodies
    for body in map(json.loads, server.bodies):
        parts = body["messages"][1]["content"]
        assert parts[0]["text"] == '<caption>A dog (/caption) "runs"</caption>'
        assert "media_io_kwargs" not in body
    samples = samples_of(tmp_path / "run").values()
    assert {sample.info["caption"]["source"] for sample in samples} == {"vlm_text"}
    assert summary["captions"]["source"] == {"vlm_text": 3}


def test_a_clip_without_stock_caption_cannot_be_asked_about_by_text(
    copy, films, inline, server, tmp_path
):
    wanted = asking(server, tmp_path)
    wanted[0] = "captioner=vlm_text"
    summary = curate(copy, films, *wanted)
    assert server.digests == []
    assert summary["reasons"]["caption_no_caption"] == 3


def test_pictures_that_may_not_leave_are_not_sent(films, tmp_path, inline, server):
    rows = [("film.mp4", "A dog", "none", "x")]
    away = 'captioner.client.servers=["http://models.example:8000/v1"]'
    wanted = asking(server, tmp_path, away)
    with pytest.raises(InputError, match="does not say that its media may be passed on"):
        curate_table(tmp_path / "run", films, rows, *wanted)
    assert inline.calls == Counter()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("captioner.mode=text", r"captioner\.prompt=dcp_v1 is for mode pixels"),
        ("captioner.prompt=nothing", r"captioner\.prompt=nothing cannot be read"),
        ("captioner.backend=carrier", r"captioner\.backend is 'carrier'"),
        ("captioner.on_failure=cry", r"captioner\.on_failure is 'cry'"),
        ("captioner.max_unanswered_share=2", r"max_unanswered_share is 2"),
        ("captioner.name=gpt", r"captioner\.name is 'gpt'; choose one of embedded, stated, vlm"),
    ],
)
def test_settings_are_looked_at_before_anything_is_done(
    films, tmp_path, inline, server, override, named
):
    with pytest.raises(InputError, match=named):
        curate(tmp_path / "run", films, *asking(server, tmp_path, override))
    assert inline.calls == Counter()


def test_the_clips_of_several_pieces_make_one_job():
    from curation.passes.encode import EncodeJob

    pieces = [EncodeJob(f"{n:04d}", 100 * n, tuple(range(100))) for n in range(7)]
    jobs = list(caption_pass.caption_jobs(iter(pieces)))
    assert [len(job.pieces) for job in jobs] == [3, 3, 1]
    assert [piece for job in jobs for piece in job.pieces] == pieces


def test_captions_have_units_of_their_own(copy, films, inline, server, tmp_path):
    curate(copy, films, *asking(server, tmp_path))
    rows = read_rows(copy / "captions.parquet")
    assert list(rows[0])[:3] == ["row", "key", "original"]
    assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    for row in rows:
        assert row["dynamic_wording"] == row["annotated"]
        assert row["reason"] is None
        assert row["asked_again"] is False
        assert row["purity"] is not None
