"""A selection as the real side: pairs by key, groups, input images, and what is missing."""

import numpy as np
import pytest
from PIL import Image

from dynamicrafter.errors import FailedShareError, InputError
from eval import pipeline, results, samples
from eval.benchmarks.selection import Chosen, write_selection
from eval.inspection import Inspector
from eval.methods import open_method
from eval.protocols import shipped
from eval.windows import file_digest
from tests.eval.test_bad_videos import KEYS, fill
from tests.eval.test_pipeline import config_for
from tests.report_folders import moving_square

DEMO = shipped()["demo"]


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "videos", frames=60)


def select(folder, root, with_videos=True):
    """A selection of the clips in root, from frame 5 on; or of images alone."""
    rows = []
    for index, key in enumerate(KEYS):
        video = root / f"{key}.mp4"
        rows.append(
            Chosen(
                key,
                f"{key}.mp4" if with_videos else "",
                5 if with_videos else None,
                3,
                16,
                8.0 if with_videos else None,
                "none",
                f"square {key} moves",
                "up" if index < 2 else "down",
                file_digest(video),
            )
        )
        image = folder / "images" / f"{key}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(moving_square(index, 60)[5]).save(image)
    write_selection(folder / "selection.csv", rows)
    (folder / "integrity.json").write_text(f'{{"root": "{root}"}}')
    return folder


def evaluate(tmp_path, *overrides):
    pipeline.run(
        config_for(tmp_path, f"reference={tmp_path}/select", "second_reference=null",
                   f"generated={tmp_path}/mine", "inspect_workers=0", *overrides),
        tmp_path / "eval",
    )  # fmt: skip
    return results.read(tmp_path / "eval")


def test_windows_start_where_the_selection_says(root, tmp_path):
    select(tmp_path / "select", root)
    method = open_method(str(fill(tmp_path / "mine", 9)))
    inspect = Inspector(0, tmp_path / "cache")
    found = samples.compared(str(tmp_path / "select"), method, DEMO, None, inspect)
    assert [one.key for one in found.samples] == list(KEYS)
    expected = moving_square(0, 60)[5:53:3]
    assert np.abs(found.samples[0].real.read().astype(int) - expected).mean() < 4
    assert found.samples[0].prompt == "square a moves"
    assert found.samples[0].generated.fps == pytest.approx(8 / 3)
    (tmp_path / "elsewhere").mkdir()
    (root / "a.mp4").rename(tmp_path / "elsewhere" / "a.mp4")
    moved = samples.compared(
        str(tmp_path / "select"), method, DEMO, str(tmp_path / "elsewhere"), inspect
    )
    assert moved.samples[0].real.read().shape == (16, 64, 64, 3)


def test_groups_have_their_means(root, tmp_path, pixels_as_network):
    select(tmp_path / "select", root)
    fill(tmp_path / "mine", 9)
    found = evaluate(tmp_path)
    assert {group.name: group.count for group in found.groups} == {"up": 2, "down": 2}
    assert set(found.groups[0].values) >= {"flicker", "motion_generated"}
    assert "Means over the videos" in (tmp_path / "eval/evaluation.html").read_text()


def test_a_video_that_has_changed_since_is_refused(root, tmp_path, pixels_as_network):
    select(tmp_path / "select", root)
    fill(tmp_path / "mine", 9)
    (root / "a.mp4").write_bytes((root / "b.mp4").read_bytes())
    with pytest.raises(InputError, match=r"a\.mp4 is not the file that was selected"):
        evaluate(tmp_path)


def test_images_alone_have_no_distances(root, tmp_path, pixels_as_network):
    select(tmp_path / "select", root, with_videos=False)
    fill(tmp_path / "mine", 9)
    found = evaluate(tmp_path)
    rows = {row.metric: row for row in found.rows}
    assert rows["fvd"].value is None
    assert rows["motion_generated"].reliable
    assert [pair.real for pair in found.pairs] == [None] * 4


def test_a_missing_video_fails_loudly(root, tmp_path, pixels_as_network):
    select(tmp_path / "select", root)
    (fill(tmp_path / "mine", 9) / "c.mp4").unlink()
    with pytest.raises(FailedShareError, match=r"1 generated .* c \(no video of this key"):
        evaluate(tmp_path)
    found = evaluate(tmp_path, "allow_incomplete=true")
    assert [one.key for one in found.dropped] == ["c"]


def test_an_extra_video_is_refused(root, tmp_path, pixels_as_network):
    select(tmp_path / "select", root)
    mine = fill(tmp_path / "mine", 9)
    (mine / "z.mp4").write_bytes(b"x")
    with pytest.raises(InputError, match=r"the generated video z starts from no clip of"):
        evaluate(tmp_path)


def test_a_path_that_leaves_the_root_is_refused(root, tmp_path, pixels_as_network):
    folder = select(tmp_path / "select", root)
    text = (folder / "selection.csv").read_text()
    (folder / "selection.csv").write_text(text.replace("a,a.mp4", "a,../videos/../../etc.mp4"))
    fill(tmp_path / "mine", 9)
    with pytest.raises(InputError):
        evaluate(tmp_path)
