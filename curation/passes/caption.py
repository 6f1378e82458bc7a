"""The sixth pass: what is said of the motion of each clip that stays, by whichever captioner.

    captions/<2 hex>/<piece>-<captioner>-<which>.parquet    outcomes of a piece's clips, a name each
    captions/model.json                                     the model that is asked, if one is

The name holds a digest of all that a caption depends on besides its clip: settings, prompt, word
lists, model. So another prompt asks anew and touches no other pass; thresholds that let more
through ask about those alone. A clip that got no answer for a passing cause (a server that is down)
is put on no record, and the next run asks about it again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.captions.ask import Words
from curation.captions.caption import Said
from curation.captions.embedded import LOOKS_AT, VERSION, CaptionSettings, caption
from curation.captions.models import close_models, known_identity, shared_model
from curation.captions.vlm import (
    Captioner,
    Shot,
    VlmSettings,
    outcomes,
    plan_captioner,
    said_of,
)
from curation.passes.encode import (
    Encoded,
    EncodeJob,
    EncodeSettings,
    clip_digest,
    find_encoded,
)
from curation.passes.gather import TABLE
from curation.tables import Row, digest_rows, iterate_rows, read_rows, write_rows
from dynamicrafter.command import say
from dynamicrafter.media.isolation import Isolated

OUTCOMES = "captions"
JOB_CLIPS = 256
"""Of a job of captioning, about: enough that the questions in flight seldom run dry."""

AnySettings = CaptionSettings | VlmSettings

SAID_COLUMNS = [
    ("dynamic_wording", pa.string()),
    ("dynamic_confidence", pa.int32()),  # None: unknown
    ("dynamic_source_category", pa.string()),
    ("speed", pa.string()),
    ("camera", pa.string()),
    ("annotated", pa.string()),
    ("source", pa.string()),
    ("model", pa.string()),
    ("prompt", pa.string()),
    ("purity", pa.float64()),
    ("asked_again", pa.bool_()),
    ("stripped", pa.bool_()),
    ("reason", pa.string()),  # None: a caption that may stay
    ("last_wording", pa.string()),
    ("verdict", pa.string()),  # None in records of earlier versions too
    ("offending", pa.list_(pa.string())),
]
_SCHEMA = pa.schema([("clip", pa.string()), *SAID_COLUMNS])


@dataclass(frozen=True)
class CaptionJob:
    """Consecutive pieces, each with its clips that stay."""

    pieces: tuple[EncodeJob, ...]


@dataclass(frozen=True)
class Outcomes:
    """Where a captioner's outcomes lie, and how a clip is called there.

    Attributes:
        digest: of captioner and model.
        name: 16 hex digits for what stands for a clip (a row of `measures.parquet`): for its
            content, and for what the captioner looks at besides.
        folder: the run folder.
    """

    digest: str
    name: Callable[[Any], str]
    folder: Path

    def find(self, piece: str) -> dict[str, Row]:
        """Name → outcome, for all clips of a piece that have one."""
        found: dict[str, Row] = {}
        for path in sorted(self._folder_of(piece).glob(f"{piece}-{self.digest}-*.parquet")):
            for row in read_rows(path):
                found.setdefault(row.pop("clip"), row)
        return found

    def add(self, piece: str, said: dict[str, Said]) -> None:
        """Put outcomes of clips of a piece on record."""
        if said:
            which = digest_rows(sorted(said))[:8]
            path = self._folder_of(piece) / f"{piece}-{self.digest}-{which}.parquet"
            write_rows(path, [{"clip": name, **said[name].row()} for name in sorted(said)], _SCHEMA)

    def _folder_of(self, piece: str) -> Path:
        return self.folder / OUTCOMES / piece[:2]


def outcomes_of(settings: AnySettings, encoding: str, folder: Path) -> Outcomes:
    """The outcomes of a run's captioner; of a model that was never asked there are none.

    Args:
        settings: of the captioner.
        encoding: digest of what the bytes of the clips depend on besides their content.
        folder: the run folder.
    """
    if not isinstance(settings, VlmSettings):
        return Outcomes(captioner_digest(settings, ""), _name_by_measures, folder)
    return _outcomes_of_model(
        plan_captioner(settings, encoding), known_identity(settings, folder), folder
    )


def captioner_digest(settings: AnySettings, encoding: str) -> str:
    """16 hex digits for all that a caption depends on but the clip and the model."""
    if isinstance(settings, VlmSettings):
        return plan_captioner(settings, encoding).digest
    return digest_rows(VERSION, asdict(settings))


def caption_jobs(pieces: Iterable[EncodeJob]) -> Iterator[CaptionJob]:
    """Join pieces to jobs of about `JOB_CLIPS` clips."""
    own: list[EncodeJob] = []
    for piece in pieces:
        own.append(piece)
        if sum(len(one.kept) for one in own) >= JOB_CLIPS:
            yield CaptionJob(tuple(own))
            own = []
    if own:
        yield CaptionJob(tuple(own))


def caption_pieces(
    job: CaptionJob,
    isolated: Isolated,
    *,
    settings: AnySettings,
    encode: EncodeSettings,
    folder: Path,
) -> Counter[str]:
    """Caption the clips of some pieces, but for those that are captioned.

    Args:
        job: the pieces; their clips that stay are encoded, or are on record as failed.
        isolated: for decoding.
        settings: of the captioner.
        encode: of the clips.
        folder: the run folder.

    Returns:
        Counts: {"clips": of the pieces, "captioned": now, …}, see `counts_of`.
    """
    clips = sum(len(piece.kept) for piece in job.pieces)
    if not isinstance(settings, VlmSettings):
        found = outcomes_of(settings, encode.digest, folder)
        captioned = 0
        for piece in job.pieces:
            missing = _missing(piece, found, encode)
            said = {name: Said(caption(row, settings)) for name, (row, _) in missing.items()}
            found.add(piece.piece, said)
            captioned += len(said)
        return Counter(clips=clips, captioned=captioned)
    try:
        captioner = plan_captioner(settings, encode.digest)
        return Counter(clips=clips) + _ask(job, isolated, captioner, encode, folder)
    except BaseException:
        close_models()  # else the other threads would wait for all their answers first
        raise


def _ask(
    job: CaptionJob, isolated: Isolated, captioner: Captioner, encode: EncodeSettings, folder: Path
) -> Counter[str]:
    identity = identity_for(captioner, folder)
    found = _outcomes_of_model(captioner, identity, folder)
    missing = {
        piece.piece: {
            name: shot_of(row, video)
            for name, (row, video) in _missing(piece, found, encode).items()
        }
        for piece in job.pieces
    }
    return ask_missing(missing, captioner, identity, found, isolated)


def identity_for(captioner: Captioner, folder: Path) -> str:
    """The model that a run was begun with; one that has asked none yet looks who is there."""
    known = known_identity(captioner.settings, folder)
    return known or shared_model(captioner.settings, folder).identity


def ask_missing(
    missing: dict[str, dict[str, Shot]],
    captioner: Captioner,
    identity: str,
    found: Outcomes,
    isolated: Isolated,
) -> Counter[str]:
    """Ask about clips and put on record what comes of it, a piece as soon as it is whole.

    Args:
        missing: piece → name of a clip → the clip.
        captioner: who words the questions.
        identity: of the model.
        found: where the outcomes go.
        isolated: for decoding.

    Returns:
        Counts, see `counts_of`.
    """
    counts: Counter[str] = Counter()
    left = {piece: len(clips) for piece, clips in missing.items() if clips}
    if not left:
        return counts
    said: dict[str, dict[str, Said]] = {piece: {} for piece in left}
    shots = (
        replace(shot, tag=(piece, name))
        for piece, clips in missing.items()
        for name, shot in clips.items()
    )
    model = shared_model(captioner.settings, found.folder)
    for (piece, name), words in outcomes(shots, captioner, model, isolated):
        counts += counts_of(words)
        if words.final:
            said[piece][name] = said_of(words, captioner, identity)
        left[piece] -= 1
        if not left[piece]:
            found.add(piece, said.pop(piece))
    return counts


def counts_of(words: Words) -> Counter[str]:
    """What the outcome of a conversation adds to the counts of a run."""
    failed = words.reason is not None
    return Counter(
        captioned=int(words.final),
        unanswered=int(not words.final),
        quarantined=int(words.final and failed),
        asked_again=int(words.asked_again),
        stripped=int(words.stripped),
        requests=words.requests,
        cached=words.known,
        prompt_tokens=words.tokens[0],
        completion_tokens=words.tokens[1],
    )


def tell(counts: Counter[str]) -> None:
    """Say in a line what asking took, if anybody was asked."""
    if counts["requests"] or counts["cached"] or counts["unanswered"] or counts["quarantined"]:
        say(
            f"caption: {counts['captioned']} clips now, {counts['requests']} requests, "
            f"{counts['cached']} answers known before, {counts['asked_again']} asked again, "
            f"{counts['stripped']} stripped, {counts['quarantined']} in quarantine, "
            f"{counts['unanswered']} without an answer"
        )


def shot_of(row: Row, video: Encoded | None) -> Shot:
    """A row of `measures.parquet` as a model is asked about it."""
    return Shot(
        video=video.read if video else bytes,
        frames=row["frames"],
        fps=row["fps"],
        caption=row["caption"],
        motion_curve=tuple(row.get("motion_curve") or ()),
        camera_motion=row.get("camera_motion"),
    )


def _outcomes_of_model(captioner: Captioner, identity: str | None, folder: Path) -> Outcomes:
    def name(row: Row) -> str:
        return digest_rows(clip_digest(row), shot_of(row, None).looked_at(captioner))

    return Outcomes(digest_rows(captioner.digest, identity), name, folder)


def _name_by_measures(row: Row) -> str:
    return digest_rows(clip_digest(row), [row.get(name) for name in LOOKS_AT])


def _missing(
    piece: EncodeJob, found: Outcomes, encode: EncodeSettings
) -> dict[str, tuple[Row, Encoded]]:
    """Name → (row, video) of the clips of a piece that are encoded and have no outcome."""
    rows = list(iterate_rows(found.folder / TABLE, piece.first, piece.first + piece.kept[-1] + 1))
    videos = find_encoded(piece.piece, encode, found.folder)
    there = found.find(piece.piece)
    named = {found.name(rows[number]): rows[number] for number in piece.kept}
    return {
        name: (row, videos[clip_digest(row)])
        for name, row in named.items()
        if name not in there and clip_digest(row) in videos
    }
