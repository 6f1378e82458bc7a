"""Sample videos of fixed clips, and how much moves in them.

A clip's first frame is animated with its caption, at the speed of its real window, by the one way
to sample. The motion of a sample is measured on the file, so that a sample that was there already
gives the same number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dynamicrafter import files
from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.items import Item
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.media.motion import measure_motion
from dynamicrafter.model.animation import AnimationModel
from train.validation.clips import FixedClip, share_of
from train.validation.mode import evaluation_mode
from train.validation.settings import Validation


@dataclass(frozen=True)
class VideoSample:
    """A sample video.

    Attributes:
        key: the clip whose first frame was animated.
        path: the mp4.
        caption: the prompt.
        motion: object speed in frame diagonals per second, the camera's motion removed.
        motion_real: the same of the clip's real window.
        may_be_passed_on: whether the clip's source lets its media leave this machine.
    """

    key: str
    path: Path
    caption: str
    motion: float
    motion_real: float
    may_be_passed_on: bool


def sample_videos(
    model: AnimationModel,
    fixed: Sequence[FixedClip],
    settings: Validation,
    folder: Path,
    share: tuple[int, int] = (0, 1),
) -> list[VideoSample]:
    """Animate the first `settings.samples` clips into `<folder>/<key>.mp4`.

    A sample whose file is there is not made again, so `folder` belongs to one step of one run.

    Args:
        model: used where and as it is, under the caller's autocast; put back in its mode.
        fixed: from `load_fixed`; of two windows of a clip the first is taken.
        settings: see there.
        folder: made where it does not exist.
        share: (rank, ranks); the samples of this rank are written and returned. Every rank makes
            equally many passes: of `ranks` samples either all are sampled or none.

    Returns:
        The samples; none for an image model, or where one frame is sampled.

    Raises:
        InputError: sampling settings that have no meaning for the model.
    """
    sampling = settings.sampling.resolved(model.config)
    if sampling.frames < 2:
        return []
    clips = _first_windows(fixed)[: settings.samples]
    animator = Animator(model)
    found = []
    with evaluation_mode(model):
        for turn, (index, answers) in enumerate(share_of(len(clips), share)):
            together = clips[turn * share[1] : (turn + 1) * share[1]]
            clip, path = clips[index], _path(folder, clips[index])
            fs, fps = _speed(clip, settings.sampling.fs, model.config.fs_means)
            if not all(_path(folder, other).exists() for other in together):
                video = animator.batch([_item(clip, sampling)], replace(sampling, fs=fs))[0]
                if answers:
                    files.write_bytes(path, encode_mp4(video, fps))
            if answers:
                frames = read_frames(path.read_bytes(), range(sampling.frames))
                found.append(_judged(clip, path, measure_motion(frames, fps).object_speed))
    return found


def _first_windows(fixed: Sequence[FixedClip]) -> list[FixedClip]:
    """The first window of each clip: samples are named by the clip."""
    first: dict[str, FixedClip] = {}
    for clip in fixed:
        first.setdefault(clip.batch.keys[0], clip)
    return list(first.values())


def _path(folder: Path, clip: FixedClip) -> Path:
    return folder / f"{clip.batch.keys[0]}.mp4"


def _item(clip: FixedClip, sampling: Sampling) -> Item:
    frames = clip.batch.frames[0].numpy()  # [t, h, w, 3]
    last = frames[-1] if sampling.mode == "interp" else None
    return Item(clip.batch.keys[0], frames[0], clip.batch.captions[0], last)


def _speed(clip: FixedClip, fs: int | None, fs_means: str) -> tuple[int, float]:
    """The fs input of a sample, and the frames per second of the scene that it stands for."""
    stride, fps = int(clip.batch.frame_stride[0]), float(clip.batch.fps[0])
    if fs is None:  # as training sees the window
        return (stride if fs_means == "stride" else int(fps)), fps
    return fs, (stride * fps / fs if fs_means == "stride" else float(fs))


def _judged(clip: FixedClip, path: Path, motion: float) -> VideoSample:
    batch = clip.batch
    real = measure_motion(batch.frames[0].numpy(), float(batch.fps[0])).object_speed
    return VideoSample(
        key=batch.keys[0],
        path=path,
        caption=batch.captions[0],
        motion=motion,
        motion_real=real,
        may_be_passed_on=clip.may_be_passed_on,
    )
