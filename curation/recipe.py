"""What a curation does, read from its configuration: every section as checked settings."""

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from curation.captions.embedded import MEASURED, CaptionSettings
from curation.captions.models import check_backend
from curation.captions.vlm import VlmSettings, plan_captioner
from curation.measures import MEASURES
from curation.passes.caption import AnySettings, captioner_digest
from curation.passes.encode import EncodeSettings
from curation.passes.filters import Filters, refuse_absent
from curation.passes.gather import IDENTITY
from curation.passes.measure import MeasureSettings, Task, plan_task
from curation.passes.pack import Packing
from curation.tables import digest_rows
from dynamicrafter.command import say
from dynamicrafter.errors import InputError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Recipe:
    """The sections of conf/curate.yaml that decide the result, but for the source itself."""

    measure: MeasureSettings
    tasks: tuple[Task, ...]  # the measures that are computed
    absent: dict[str, str]  # name → reason of those that are wanted and cannot be
    filters: Filters
    encode: EncodeSettings
    captioner: AnySettings
    part_rows: int
    check_files: bool
    shard_bytes: int
    may_be_passed_on: dict[str, bool]  # source → whether its media may leave this machine

    def check_absent(self) -> None:
        """Tell which measures are absent.

        Raises:
            InputError: a filter needs one, and `on_missing` is `refuse`.
        """
        columns = [name for task in self.tasks for name in task.measure.columns]
        there = [*columns, *(field.name for field in IDENTITY)]
        reasons = {
            column: reason
            for measure in MEASURES
            if (reason := self.absent.get(measure.name))
            for column in measure.columns
        }
        refuse_absent(self.filters, there, reasons)
        for name, reason in self.absent.items():
            say(f"measure {name} is absent: {reason}")

    @property
    def packing(self) -> Packing:
        """What the shards' content depends on besides the clips."""
        return Packing(
            encode=self.encode,
            digests={
                "measure": self.measures_digest,
                "encode": self.encode.digest,
                "decide": digest_rows(asdict(self.filters)),
                "captioner": self.captioner_digest,
            },
            may_be_passed_on=self.may_be_passed_on,
        )

    @property
    def captioner_of_probe(self) -> CaptionSettings:
        """The captioner of a trial that shall ask no model."""
        if isinstance(self.captioner, VlmSettings):
            return CaptionSettings("embedded", 0.0, 0.0, 0.0, 1.0, 1.0)
        return self.captioner

    @property
    def captioner_digest(self) -> str:
        """Digest of the captioner with its prompt, but for the model."""
        return captioner_digest(self.captioner, self.encode.digest)

    @property
    def measures_digest(self) -> str:
        """Digest of what is measured, and with which weights."""
        return digest_rows([task.digest for task in self.tasks], sorted(self.absent))


def read_recipe(config: Any) -> Recipe:
    """The recipe of a composed configuration.

    Raises:
        InputError: a setting cannot be used.
    """
    tasks, absent = plan_measures(config)
    source = plain(config.source)
    return Recipe(
        measure=as_settings(MeasureSettings, config.measure),
        tasks=tasks,
        absent=absent,
        filters=as_settings(Filters, config.filters),
        encode=as_settings(EncodeSettings, config.encode),
        captioner=read_captioner(config.captioner),
        part_rows=config.list.part_rows,
        check_files=config.list.check_files,
        shard_bytes=int(config.pack.shard_megabytes * 2**20),
        may_be_passed_on={source["name"]: source["media_may_be_passed_on"]},
    )


def read_captioner(section: Any) -> AnySettings:
    """The settings of the captioner that a section of the config describes.

    Raises:
        InputError: there is none of that name, or a setting or the prompt cannot be used.
    """
    if section.name != "vlm":
        if section.name not in MEASURED:
            known = ", ".join((*MEASURED, "vlm"))
            raise InputError(f"captioner.name is {section.name!r}; choose one of {known}")
        return as_settings(CaptionSettings, section)
    settings = as_settings(VlmSettings, section)
    plan_captioner(settings, "")
    check_backend(settings)
    return settings


def plan_measures(config: Any) -> tuple[tuple[Task, ...], dict[str, str]]:
    """The measures to compute, and name → reason of those that are wanted and cannot be."""
    general = as_settings(MeasureSettings, config.measure)
    tasks, absent = [], {}
    for measure in MEASURES:
        section = plain(config.measures[measure.name])
        if not section.pop("use"):
            continue
        settings = as_settings(measure.settings, section) if measure.settings else None
        if reason := measure.absent(settings):
            absent[measure.name] = reason
        else:
            tasks.append(plan_task(measure, settings, general))
    return tuple(tasks), absent


def as_settings(kind: type[Settings], section: Any) -> Settings:
    """A section of the config as its dataclass; wrong names and types are errors of OmegaConf."""
    from omegaconf import OmegaConf

    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), section))


def plain(section: Any) -> dict[str, Any]:
    """A section of the config as plain values."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(section, resolve=True, throw_on_missing=True)
