"""`eval study`: the pages know no method, and are the same again; what is missing is named."""

import base64
import io
import itertools
import re
from pathlib import Path

import av
import numpy as np
import pytest

from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from dynamicrafter.media.decode import iterate_frames
from eval.study import prepare
from eval.study.material import Encoding, encoded, scrambled_frame
from tests.eval.study.folders import METHODS, make_methods, make_videos, study_config
from tests.report_folders import HOSTILE

VIDEO = re.compile(r'data-src="data:video/mp4;base64,([^"]+)"')


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_methods(tmp_path_factory.mktemp("methods"), 4)


@pytest.fixture(scope="module")
def study(methods, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    prepare.run(study_config(methods), folder)
    return folder


def pages_of(folder: Path) -> list[Path]:
    return sorted((folder / "pages").iterdir())


def test_no_page_holds_a_method_a_folder_a_key_or_the_writer_of_a_video(study, methods):
    clues = [*METHODS, "clip-0", "tmp", "pytest", *methods.values(), "scrambled", "check"]
    for page in pages_of(study):
        text = page.read_text()
        videos = [base64.b64decode(data) for data in VIDEO.findall(text)]
        assert len(videos) == 2 * 7
        rest = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
        # "check" is a word of our own script: of a radio button that is checked
        rest = re.sub(r"checked", "", rest)
        for clue in clues:
            assert clue.lower() not in rest.lower()
            assert all(clue.encode() not in video for video in videos)
        assert page.stem not in METHODS


def test_the_files_of_all_methods_look_alike(study):
    """One size, one encoder, no date and no comment: only the frames and their rate differ."""
    seen = set()
    for page in pages_of(study)[:1]:
        for data in VIDEO.findall(page.read_text()):
            with av.open(io.BytesIO(base64.b64decode(data))) as video:
                stream = video.streams.video[0]
                seen.add(
                    (stream.width, stream.height, tuple(sorted(video.metadata)),
                     tuple(sorted(stream.metadata)), stream.codec_context.profile)
                )  # fmt: skip
    sizes = {one[:2] for one in seen}
    assert sizes <= {(64, 64), (60, 60)}  # the scrambled one loses its edges
    assert len({one[2:] for one in seen}) == 1


def test_the_key_tells_which_video_is_whose(study, methods):
    key = read_json(study / "key.json")
    sheet = key["sheets"][0]
    text = (study / "pages" / f"{sheet['participant']}.html").read_text()
    encoding = Encoding(64, 8, 18)
    for one in sheet["questions"]:
        part = text.split(f'data-token="{one["token"]}"')[1].split("</article>")[0]
        shown = [base64.b64decode(data) for data in VIDEO.findall(part)]
        for name, video in zip(one["sides"], shown, strict=True):
            folder = Path(methods[name])
            folder = folder / "videos" if (folder / "videos").is_dir() else folder
            original = encoded(folder / f"{one['key']}.mp4", encoding, None, 0)
            assert (video == original) == (name != one["scrambled"])


def test_an_image_and_a_prompt_that_means_harm_stand_as_text(study):
    text = pages_of(study)[0].read_text()
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=" in text
    assert text.count("data:image/jpeg;base64,") == 7


def test_the_same_settings_give_the_same_pages(study, methods, tmp_path):
    prepare.run(study_config(methods), tmp_path)
    assert [page.name for page in pages_of(tmp_path)] == [page.name for page in pages_of(study)]
    for one, other in zip(pages_of(tmp_path), pages_of(study), strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert (tmp_path / "key.json").read_bytes() == (study / "key.json").read_bytes()


def test_another_seed_gives_another_study(study, methods, tmp_path):
    prepare.run(study_config(methods, seed=1), tmp_path)
    assert read_json(tmp_path / "key.json")["study"] != read_json(study / "key.json")["study"]


def test_pages_of_an_earlier_run_do_not_stay(methods, tmp_path):
    prepare.run(study_config(methods), tmp_path)
    prepare.run(study_config(methods, participants=2, seed=3), tmp_path)
    sheets = read_json(tmp_path / "key.json")["sheets"]
    assert [page.stem for page in pages_of(tmp_path)] == sorted(s["participant"] for s in sheets)


def test_unlike_folders_are_refused_and_named_where_they_are_allowed(tmp_path):
    methods = make_methods(tmp_path, 4, methods=2)
    (tmp_path / METHODS[1] / "clip-002.mp4").unlink()
    with pytest.raises(InputError, match=r"1 inputs .*zebrafinch 4, quokka 3.*clip-002"):
        prepare.run(study_config(methods), tmp_path / "study")
    config = study_config(methods, questions=3, allow_incomplete=True)
    summary = prepare.run(config, tmp_path / "study")
    key = read_json(tmp_path / "study" / "key.json")
    assert key["left_out"] == {"clip-002": "missing in quokka"}
    assert summary["left_out"] == 1
    assert {one["key"] for one in key["sheets"][0]["questions"]} == {
        "clip-000", "clip-001", "clip-003",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"megabytes": 0.01}, r"a page would have .* MB, and megabytes=0.01; pass fewer"),
        ({"images": "nowhere"}, "nowhere"),
        ({"methods": ["a", "b"]}, "pass names and folders"),
        ({"methods": {"a": "nowhere", "b": "nowhere"}}, "nowhere"),
        ({"methods": {"a": "nowhere", "same": "nowhere"}}, "a method is named 'same'"),
    ],
)
def test_what_cannot_be_shown_is_refused(methods, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        prepare.run(study_config(**{"methods": methods, **change}), tmp_path)


def test_folders_alone_need_images(methods, tmp_path):
    foreign = {name: methods[name] for name in METHODS[1:]}
    with pytest.raises(InputError, match="pass images="):
        prepare.inputs(study_config(foreign))
    images = str(Path(methods[METHODS[0]]).parent / "images" / "items.csv")
    summary = prepare.run(study_config(foreign, questions=4, images=images), tmp_path)
    assert summary["questions"] == 4


def test_a_file_that_is_no_video_is_named(tmp_path):
    methods = make_methods(tmp_path, 2, methods=2)
    (tmp_path / METHODS[1] / "clip-001.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(InputError, match=r"clip-001.mp4 cannot be shown .*replace it"):
        prepare.run(study_config(methods, questions=2), tmp_path / "study")


@pytest.mark.slow
def test_foreign_files_are_read_in_a_process_of_their_own(methods, tmp_path):
    prepare.run(study_config(methods, workers=1), tmp_path / "one")
    prepare.run(study_config(methods), tmp_path / "none")
    one, none = (read_json(tmp_path / name / "key.json") for name in ("one", "none"))
    assert one == none


def test_the_digests_of_the_inputs_follow_the_videos(tmp_path):
    methods = make_methods(tmp_path, 1, methods=2)
    before = prepare.inputs(study_config(methods))
    (tmp_path / METHODS[1] / "clip-000.mp4").unlink()
    (tmp_path / METHODS[1]).rmdir()
    make_videos(tmp_path / METHODS[1], 1, 99)
    after = prepare.inputs(study_config(methods))
    assert {name for name in before if before[name] != after[name]} == {f"method {METHODS[1]}"}


def test_a_long_video_is_cut_and_keeps_its_rate(tmp_path):
    make_videos(tmp_path / "long", 1, 0, frames=30, fps=10)
    data = encoded(tmp_path / "long" / "clip-000.mp4", Encoding(64, 1.5, 18), None, 0)
    with av.open(io.BytesIO(data)) as video:
        assert video.streams.video[0].frames == 15
        assert video.streams.video[0].average_rate == 10


def test_scrambling_moves_tiles_and_keeps_their_pixels():
    frame = np.arange(12 * 14 * 3, dtype=np.uint8).reshape(12, 14, 3)
    spoilt = scrambled_frame(frame, np.random.default_rng(0))
    assert spoilt.shape == (12, 12, 3)
    assert sorted(spoilt.ravel()) == sorted(frame[:, :12].ravel())
    tiles = {spoilt[y : y + 2, x : x + 2].tobytes() for y, x in _corners()}
    assert tiles == {frame[y : y + 2, x : x + 2].tobytes() for y, x in _corners()}
    assert not np.array_equal(spoilt, frame[:, :12])


def test_every_frame_of_a_check_is_scrambled_anew(tmp_path):
    make_videos(tmp_path / "videos", 1, 0)
    path = tmp_path / "videos" / "clip-000.mp4"
    spoilt = tmp_path / "spoilt.mp4"
    spoilt.write_bytes(encoded(path, Encoding(60, 8, 0), 5, 0))
    frames = [frame.astype(int) for _, frame in iterate_frames(spoilt)]
    plain = [frame.astype(int) for _, frame in iterate_frames(path, short_side=60)]
    change = np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(frames)])
    assert change > 2 * np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(plain)])


def _corners() -> list[tuple[int, int]]:
    return list(itertools.product(range(0, 12, 2), repeat=2))
