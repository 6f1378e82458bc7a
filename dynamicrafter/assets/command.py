"""`dynamicrafter assets list|fetch|verify [names…]`: sample clips and weights on this machine."""

import argparse
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from dynamicrafter.assets.manifest import load_manifest
from dynamicrafter.assets.store import cache_folder, fetch, fetch_command, select, verify
from dynamicrafter.errors import InputError

STATE_STYLE = {"whole": "green", "absent": "dim", "damaged": "bold red"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb with `argv` (None: the command line's) and return the exit code.

    Raises:
        ToolkitError: what stands in the way, in one line.
        SystemExit: argparse has shown the help or refused the arguments.
    """
    arguments = _parser().parse_args(argv)
    names = arguments.names or [
        asset.name for asset in load_manifest().values() if asset.demo or not arguments.demo
    ]
    console = Console()
    if arguments.action == "list":
        _list(console, names)
    elif arguments.action == "fetch":
        _fetch(console, names)
    else:
        _verify(console, names)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dynamicrafter assets",
        description="Sample clips and weights: pinned files, verified by sha256, kept in a cache.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("list", "show what there is and what is here"),
        ("fetch", "download what is missing"),
        ("verify", "compare what is here with its checksums"),
    ):
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        action.add_argument("names", nargs="*", help="assets (default: all)")
        action.add_argument("--demo", action="store_true", help="only those of the demo")
    return parser


def _list(console: Console, names: Sequence[str]) -> None:
    table = Table(title=f"Assets in {cache_folder()}", title_justify="left", box=box.SIMPLE)
    for column in ("name", "kind", "MB", "here", "licence", "what it is"):
        table.add_column(column, justify="right" if column == "MB" else "left")
    states = verify(names)
    for asset in select(names):
        state = states[asset.name]
        table.add_row(
            asset.name,
            asset.kind,
            f"{asset.stored_size / 1e6:.1f}",
            f"[{STATE_STYLE[state]}]{state}[/]",
            asset.source.licence,
            asset.title,
        )
    console.print(table)
    for line in dict.fromkeys(asset.source.attribution for asset in select(names)):
        console.print(line, style="dim", highlight=False)


def _fetch(console: Console, names: Sequence[str]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {}

        def report(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(file, total=total)
            progress.update(tasks[file], completed=done)

        paths = fetch(names, report)
    for path in paths:
        console.print(str(path), soft_wrap=True, highlight=False)


def _verify(console: Console, names: Sequence[str]) -> None:
    states = verify(names)
    for name, state in states.items():
        console.print(f"[{STATE_STYLE[state]}]{state:8}[/] {name}", highlight=False)
    unfit = [name for name, state in states.items() if state != "whole"]
    if unfit:
        raise InputError(f"{len(unfit)} of {len(states)} not whole; run: {fetch_command(*unfit)}")
