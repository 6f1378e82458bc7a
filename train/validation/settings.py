"""The settings of validation."""

from dataclasses import dataclass, field

from dynamicrafter.animate import Sampling
from dynamicrafter.diffusion.schedule import TIMESTEPS
from dynamicrafter.errors import InputError

STREAM = "validation"  # prefix of all draws of validation, those of its windows too


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is looked at while a stage trains, and how often.

    Attributes:
        every: steps between two measurements of the fixed losses; 0 is never.
        clips: fixed clips, at least 2.
        strata: equal slices of the timesteps; one timestep is drawn in each of them for each clip.
        batch: clips that pass the model at once.
        seed: decides the clips, their windows, noise and timesteps; it is not the seed of the run,
            so that runs of different seeds are compared on the same draws.
        sample_every: steps between sample videos; 0 is never.
        samples: fixed clips whose first frame is animated, at most `clips`.
        sampling: how to sample. Where its `fs` is None, a sample has the speed of its real window.

    Raises:
        InputError: a number that has no meaning.
    """

    every: int = 1000
    clips: int = 16
    strata: int = 5
    batch: int = 4
    seed: int = 0
    sample_every: int = 5000
    samples: int = 4
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("every", 0, None),
            ("clips", 2, None),
            ("strata", 1, TIMESTEPS),
            ("batch", 1, None),
            ("sample_every", 0, None),
            ("samples", 0, self.clips),
        ):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                allowed = f"at least {low}" if high is None else f"{low} to {high}"
                raise InputError(f"validate.{name} is {value}; choose {allowed}")
        if self.sampling.fs == 0:
            raise InputError("validate.sampling.fs is 0; choose at least 1, or null")
