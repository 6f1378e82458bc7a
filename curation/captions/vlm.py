"""Motion captions from a vision-language model: what is asked, and what becomes of the answers."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from curation.captions.answer import SCHEMA
from curation.captions.ask import Rules, Words, conversations, converse
from curation.captions.caption import Caption, Said
from curation.captions.frames import FrameSettings, choose_frames, content_of, jpegs
from curation.captions.prompts import Prompt, read_prompt
from curation.captions.question import Model, Question
from curation.clip import UNKNOWN
from curation.tables import digest_rows
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.media.isolation import CRASHED, TIMEOUT, Isolated

VERSION = 1
"""Raised when the same answers shall give other captions."""

MODES = ("pixels", "text")
BACKENDS = ("http", "engine")
ON_FAILURE = ("drop", "keep")
CAPTION_UNKNOWN = "no_caption"
"""Reason of a clip without stock caption where only that could be asked about."""

AHEAD = 64
"""Conversations of one job that are open at once: as many questions, of about 0.3 MB, in memory."""


@dataclass
class SamplingSettings:
    """`sampling` of conf/captioner/vlm.yaml."""

    temperature: float
    max_tokens: int
    seed: int


@dataclass
class GateSettings:
    """`gate` of conf/captioner/vlm.yaml."""

    min_purity: float
    min_words: int
    max_words: int


@dataclass
class VlmSettings:
    """conf/captioner/vlm.yaml, where each setting is explained."""

    name: str
    backend: str
    mode: str
    model: str | None
    prompt: str
    frames: FrameSettings
    sampling: SamplingSettings
    gate: GateSettings
    camera_moves_above: float | None
    on_failure: str
    max_unanswered_share: float
    cache: str | None
    client: dict[str, Any]
    engine: dict[str, Any]

    def __post_init__(self) -> None:
        choices = {"backend": BACKENDS, "mode": MODES, "on_failure": ON_FAILURE}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"captioner.{name} is {getattr(self, name)!r}; choose one of "
                    f"{', '.join(allowed)}"
                )
        if not 0 <= self.max_unanswered_share <= 1:
            raise InputError(
                f"captioner.max_unanswered_share is {self.max_unanswered_share:g}, not 0 to 1"
            )

    @property
    def source(self) -> str:
        """What stands beside a caption: by what it was made."""
        return f"vlm_{self.mode}"


@dataclass(frozen=True)
class Captioner:
    """A captioner that is ready to word questions; it holds no model.

    Attributes:
        settings: of the config.
        prompt: the texts.
        encoding: what the bytes of the clips depend on besides their content; "" if no clip is
            looked at.
    """

    settings: VlmSettings
    prompt: Prompt
    encoding: str

    @property
    def digest(self) -> str:
        """16 hex digits for all that a caption depends on but the clip and the model."""
        from curation.purity.lexicon import lexicon_digest

        own = self.settings
        return digest_rows(
            VERSION,
            [own.source, self.prompt.digest, asdict(own.frames) if self.looks else None],
            [asdict(own.sampling), asdict(own.gate), own.camera_moves_above, SCHEMA],
            [lexicon_digest(), self.encoding if self.looks else None],
        )

    @property
    def looks(self) -> bool:
        """Whether it looks at pixels."""
        return self.settings.mode == "pixels"


def plan_captioner(settings: VlmSettings, encoding: str) -> Captioner:
    """Read what the settings name.

    Raises:
        InputError: the prompt cannot be used, or is for the other mode.
    """
    prompt = read_prompt(settings.prompt)
    if prompt.mode != settings.mode:
        raise InputError(
            f"captioner.prompt={settings.prompt} is for mode {prompt.mode}, captioner.mode is "
            f"{settings.mode}"
        )
    return Captioner(settings, prompt, encoding)


@dataclass(frozen=True)
class Shot:
    """A clip as a model is asked about it.

    Attributes:
        video: reads its mp4.
        frames: number of them.
        fps: frames/s.
        caption: the stock caption.
        motion_curve: speeds of what moves, at even distances over the clip; empty if unknown.
        camera_motion: frame diagonals/s, None if it was not measured.
        tag: whose it is; handed back with the outcome.
    """

    video: Callable[[], bytes]
    frames: int
    fps: float
    caption: str
    motion_curve: tuple[float, ...] = ()
    camera_motion: float | None = None
    tag: Any = None

    def looked_at(self, captioner: Captioner) -> list[Any]:
        """What decides the question besides the content of the video."""
        settings = captioner.settings
        curve = self.motion_curve if settings.frames.around == "peak" else ()
        text = None if captioner.looks else self.caption
        return [text, list(curve) if captioner.looks else [], camera_of(self, settings)]


def camera_of(shot: Shot, settings: VlmSettings) -> str | None:
    """What a prompt says of a camera that was measured: `moves` or `stands still`."""
    limit = settings.camera_moves_above
    if limit is None or shot.camera_motion is None or not math.isfinite(shot.camera_motion):
        return None
    return "moves" if shot.camera_motion > limit else "stands still"


def ask_about(shot: Shot, captioner: Captioner, isolated: Isolated) -> Question:
    """The first question about a clip; its frames are decoded in a process that may be killed.

    Raises:
        MediaError: the clip cannot be decoded, or there is nothing to ask about.
    """
    settings, media, more = captioner.settings, [], {}
    if captioner.looks:
        own = settings.frames
        indices = choose_frames(shot.frames, shot.fps, own, shot.motion_curve)
        pictures = isolated(jpegs, shot.video(), indices, own.short_side, own.quality)
        media, more = content_of(pictures, indices, shot.frames, shot.fps, own.send_as)
    elif shot.caption.strip() in ("", UNKNOWN):
        raise MediaError(CAPTION_UNKNOWN, "there is no stock caption to ask about")
    messages = captioner.prompt.messages(media, shot.caption, camera_of(shot, settings))
    form = {"name": "motion", "schema": SCHEMA, "strict": True}
    return Question(
        {
            "messages": messages,
            "response_format": {"type": "json_schema", "json_schema": form},
            **asdict(settings.sampling),
            **more,
        }
    )


def rules_of(captioner: Captioner) -> Rules:
    """The gate and the second question, as the settings say."""
    from curation.purity.gate import Gate, judge
    from curation.purity.strip import strip

    gate = Gate(**asdict(captioner.settings.gate))

    def ask_again(question: Question, answer: str, reason: str, words: tuple[str, ...]) -> Question:
        more = [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": captioner.prompt.complaint(reason, words)},
        ]
        return Question({**question.body, "messages": [*question.body["messages"], *more]})

    return Rules(lambda wording: judge(wording, gate), strip, ask_again)


def outcomes(
    shots: Iterable[Shot], captioner: Captioner, model: Model, isolated: Isolated
) -> Iterator[tuple[Any, Words]]:
    """Ask about many clips at once; yields (tag, outcome) in the order in which they end."""
    rules = rules_of(captioner)
    lost: list[tuple[Any, Words]] = []

    def talks() -> Iterator[tuple[Any, Any]]:
        for shot in shots:
            try:
                question = ask_about(shot, captioner, isolated)
            except MediaError as error:
                passing = error.reason in (TIMEOUT, CRASHED)
                lost.append((shot.tag, Words(reason=error.reason, final=not passing)))
            else:
                yield shot.tag, converse(question, rules)

    yield from conversations(talks(), model, AHEAD)
    yield from lost


def said_of(words: Words, captioner: Captioner, identity: str) -> Said:
    """A final outcome as it is put on record."""
    sure = UNKNOWN if words.confidence is None else words.confidence
    caption = Caption(
        dynamic_wording=words.wording,
        dynamic_confidence=sure,
        dynamic_source_category=words.category,
        annotated=words.wording,
        source=captioner.settings.source,
        speed=words.speed,
        camera=words.camera,
        purity=words.purity,
        model=identity,
        prompt=captioner.prompt.label,
    )
    return Said(
        caption=caption,
        reason=words.reason,
        asked_again=words.asked_again,
        stripped=words.stripped,
        last_wording=words.last_wording,
        verdict=words.verdict,
        offending=words.offending,
    )
