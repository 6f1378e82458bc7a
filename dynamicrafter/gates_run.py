"""`dynamicrafter animate gates`: λ of every layer, read, plotted, and tried out (paper, figure 2).

<run_dir>/gates.json     layer, width, λ, learned or fixed
<run_dir>/gates.html     the same as a chart and a table, and the videos side by side
<run_dir>/videos/…       one video per scaled part and factor, as `dynamicrafter animate` writes
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files, pages, tracking
from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.animate_run import animator_of, items_of, sampling_of, video_settings
from dynamicrafter.command import command
from dynamicrafter.errors import InputError
from dynamicrafter.items import Item, digest
from dynamicrafter.model import pretrained
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.model.gates import Gate, check_factors, read_gates
from dynamicrafter.produce import is_done, reading_of, write_video
from dynamicrafter.progress import progress
from dynamicrafter.shards import sample_key

main = command("gates", "dynamicrafter.gates_run")


@dataclass(frozen=True)
class Trial:
    """One video: the scaled part, the factor on its λ, and the item under the video's own name."""

    part: str
    factor: float
    item: Item


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the model and of the image."""
    found = pretrained.find(config.pretrained, config.kind)
    if config.image is None:
        return {"model": found.digest}
    sampling_of(config).resolved(AnimationConfig.from_dict(found.config))
    reading_of(config)
    return {"model": found.digest, "image": digest(str(config.image), config.last_image)}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Read the gates of `config.pretrained` and animate with scaled ones; write the page."""
    if config.threads:
        torch.set_num_threads(config.threads)
    found = pretrained.find(config.pretrained, config.kind)
    animator = animator_of(config, found)
    gates = read_gates(animator.model.unet)
    if not gates:
        raise InputError(f"{config.pretrained} has no image stream, hence no gates")
    files.write_json(folder / "gates.json", {"gates": [asdict(gate) for gate in gates]})
    trials = _trials(config, animator)
    plain = OmegaConf.to_container(config, resolve=True)
    with tracking.open_run(config.tracking, folder, "gates", plain) as tracker:
        tracker.table(
            "gates",
            ("layer", "width", "lambda", "learned"),
            [[gate.layer, gate.width, gate.value, gate.learned] for gate in gates],
        )
        videos = _animate(config, animator, trials, folder)
        for trial, path in videos:
            tracker.video(f"gates/{trial.part}", path, f"λ × {trial.factor:g}")
    files.write_text(folder / "gates.html", _page(str(config.pretrained), gates, videos))
    return {"gates": len(gates), "videos": len(videos), "page": str(folder / "gates.html")}


def _trials(config: DictConfig, animator: Animator) -> list[Trial]:
    """What is animated: first the model as it is, then each part with each factor."""
    if config.image is None:
        return []
    parts, factors = list(config.layers), [float(factor) for factor in config.factors]
    for factor in factors:
        check_factors(animator.model.unet, dict.fromkeys(parts, factor))
    items = items_of(config, animator.model.config.resolution)
    if len(items) != 1:
        raise InputError(f"image={config.image} names {len(items)} images; gates are tried on one")
    (item,) = items
    scaled = [(part, factor) for part in parts for factor in factors if factor != 1]
    return [Trial("unscaled", 1.0, item)] + [
        Trial(part, factor, replace(item, key=_key(item.key, part, factor)))
        for part, factor in scaled
    ]


def _key(key: str, part: str, factor: float) -> str:
    return sample_key(f"{key}-{part}-{factor:g}".replace(".", "_"))


def _animate(
    config: DictConfig, animator: Animator, trials: list[Trial], folder: Path
) -> list[tuple[Trial, Path]]:
    """A video per trial; all of them start from the same noise."""
    base = sampling_of(config).resolved(animator.model.config)
    digests = inputs(config)
    made = []
    with progress("gates", len(trials) * base.steps, "steps") as advance:
        for trial in trials:
            sampling = base if trial.factor == 1 else _scaled(base, trial)
            settings = video_settings(config, sampling, animator, digests)
            identity = files.sha256_json(settings)
            path = folder / "videos" / f"{trial.item.key}.mp4"
            if is_done(folder, trial.item, identity):
                advance(base.steps)
            else:
                item = replace(trial.item, key=trials[0].item.key)
                (video,) = animator.batch([item], sampling, lambda _: advance(1))
                record = {"settings": settings, "digest": identity}
                write_video(folder, trial.item, video, config.fps, record)
            made.append((trial, path))
    return made


def _scaled(sampling: Sampling, trial: Trial) -> Sampling:
    return replace(sampling, gates={**(sampling.gates or {}), trial.part: trial.factor})


def _page(source: str, gates: list[Gate], videos: list[tuple[Trial, Path]]) -> str:
    chart = pages.line_chart(
        [
            pages.Series("λ", range(1, len(gates) + 1), [gate.value for gate in gates]),
            pages.Series("λ = 1", [1, len(gates)], [1.0, 1.0], faint=True),
        ],
        "Gate λ by layer",
        "layer, in the order of the forward pass",
        "λ",
    )
    columns = [
        pages.Column("Number", number=True),
        pages.Column("Layer"),
        pages.Column("Channels", number=True),
        pages.Column("λ", number=True, digits=4),
        pages.Column("Learned"),
    ]
    rows = [
        pages.Row([number, gate.layer, gate.width, gate.value, gate.learned])
        for number, gate in enumerate(gates, 1)
    ]
    groups: dict[str, list[tuple[float, Markup]]] = {}
    for trial, path in videos:
        title = "λ as it is" if trial.factor == 1 else f"λ × {trial.factor:g}"
        figure = pages.video(path.read_bytes(), f"{trial.part}, {title}", title)
        groups.setdefault(trial.part, []).append((trial.factor, figure))
    unscaled = groups.pop("unscaled", [])
    return pages.render(
        "gates.html",
        {
            "source": source,
            "learned": any(gate.learned for gate in gates),
            "chart": chart,
            "table": pages.table(columns, rows, "Gate λ of every layer"),
            "prompt": videos[0][0].item.prompt if videos else None,
            "groups": {part: _in_order(unscaled + made) for part, made in groups.items()},
        },
    )


def _in_order(figures: list[tuple[float, Markup]]) -> Markup:
    return pages.together([figure for _, figure in sorted(figures, key=lambda pair: pair[0])])
