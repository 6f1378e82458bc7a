"""When a stage is validated, on which model, and what is written down of it.

The validation itself is `train/validation/`; here it meets the ranks, the averages and the journal.
"""

from omegaconf import DictConfig, OmegaConf

from dynamicrafter.animate import Sampling
from dynamicrafter.model.animation import AnimationModel
from train import parallel
from train.checkpoints import Training
from train.context import Context
from train.data import ClipWindows, open_held_out, stage_window
from train.journal import Journal
from train.objectives import Diffusion, Objective
from train.step import Step
from train.validation import (
    STREAM,
    FixedClip,
    Validation,
    gate_scalars,
    load_fixed,
    motion_scalars,
    sample_videos,
    summarise,
    validation_losses,
)

SAMPLES = "samples"  # folder in the stage's: samples/step-00001000/<key>.mp4


class Validator:
    """Validates one stage as its settings say."""

    def __init__(
        self,
        model: AnimationModel,
        objective: Diffusion,
        step_of: Step,
        fixed: list[FixedClip],
        settings: Validation,
        context: Context,
        *,
        allow_media: bool,
    ):
        """Look at `fixed` through `model`, as `step_of` has placed it.

        Args:
            model: of the stage.
            objective: of the stage.
            step_of: that trains the model.
            fixed: clips of the validation data.
            settings: what to look at, and how often.
            context: of the stage.
            allow_media: log videos although their source does not say that they may be.
        """
        self._model, self._objective, self._step = model, objective, step_of
        self._fixed, self._settings, self._context = fixed, settings, context
        self._allow_media = allow_media

    def is_due(self, step: int, steps: int) -> bool:
        """Whether to validate after `step` of `steps`: every so many, before the first, at last."""
        return step == steps or _divides(self._settings.every, step) or self._samples_are_due(step)

    def run(self, step: int, training: Training, journal: Journal, *, at_end: bool) -> None:
        """Measure, sample where that is due or the stage ends, and write down.

        The averaged weights are looked at where there are any.
        """
        ranks = self._context.ranks
        share = (ranks.rank, ranks.count)
        with training.averaged(), self._step.encoding():
            found = validation_losses(
                self._model, self._objective, self._fixed, self._settings, share
            )
            rows = [row for part in parallel.gathered(ranks, found) for row in part]
            scalars = {**summarise(rows), **gate_scalars(self._model.unet)}
            videos = []
            if self._settings.sample_every and (at_end or self._samples_are_due(step)):
                folder = self._context.folder / SAMPLES / f"step-{step:08d}"
                made = sample_videos(self._model, self._fixed, self._settings, folder, share)
                videos = [video for part in parallel.gathered(ranks, made) for video in part]
                scalars |= motion_scalars(videos)
        shown = [
            {
                "key": video.key,
                "path": str(video.path.relative_to(self._context.folder)),
                "caption": video.caption,
                "motion": video.motion,
                "motion_real": video.motion_real,
                "may_be_logged": video.may_be_passed_on or self._allow_media,
            }
            for video in videos
        ]
        journal.validation({"step": step, "scalars": scalars, "rows": rows, "videos": shown})

    def _samples_are_due(self, step: int) -> bool:
        return _divides(self._settings.sample_every, step)


def open_validator(
    config: DictConfig,
    stage: str,
    model: AnimationModel,
    objective: Objective,
    step_of: Step,
    context: Context,
) -> Validator | None:
    """What the train config asks for; None without validation data, or for an autoencoder."""
    if not config.validation or not isinstance(objective, Diffusion):
        return None
    settings = validation_settings(config, objective.interpolation)
    if not settings.every and not settings.sample_every:
        return None
    window = stage_window(config, stage)
    windows = ClipWindows(open_held_out(config), settings.seed, STREAM, window)
    fixed = load_fixed(windows, settings)
    return Validator(
        model, objective, step_of, fixed, settings, context, allow_media=config.allow_media
    )


def validation_settings(config: DictConfig, interpolation: bool) -> Validation:
    """The `validate` part of a train config; a stage that interpolates samples so too.

    Raises:
        InputError: a number in it has no meaning.
    """
    plain = OmegaConf.to_container(config.validate, resolve=True)
    mode = "interp" if interpolation else "animate"
    return Validation(**{**plain, "sampling": Sampling(mode=mode, **plain["sampling"])})


def _divides(every: int, step: int) -> bool:
    return bool(every) and step % every == 0
