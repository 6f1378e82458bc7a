"""What every command shares: Hydra, the run folder, errors of one line, exit codes.

A room gives a module with two functions, and its main is one line:

    inputs(config) -> {name: digest}     what the result depends on besides the config
    run(config, folder) -> summary       does the work; resumes what `folder` already holds
    leads(config) -> bool                optional, where several processes share a run: whether this
                                         one holds the folder; the others only `run`

    main = command("curate", "curation.pipeline")
"""

import contextlib
import errno
import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamicrafter.errors import InputError, MachineError, ToolkitError
from dynamicrafter.redaction import redact_text

if TYPE_CHECKING:
    import torch

INTERRUPTED = 130
FOLLOW_S = 24 * 3600.0  # seconds that a process waits for the one that leads


def command(config_name: str, module: str) -> Callable[[], None]:
    """The main of one verb: compose `conf/<config_name>.yaml`, then run `module` in its folder."""
    return lambda: compose(config_name, lambda config: run_in_folder(config, module))


def compose(config_name: str, task: Callable[[Any], None]) -> None:
    """Compose `conf/<config_name>.yaml` with the settings of the command line and run `task`.

    Raises:
        Exception: whatever the task or the composition raised.
    """
    import hydra

    if {"-h", "--help"} & set(sys.argv[1:]):
        from dynamicrafter.settings_help import settings_help

        sys.stdout.write(settings_help(config_name))
        return
    sys.argv[1:] = [_as_text(argument) for argument in sys.argv[1:]]
    # Errors shall reach `exit_code`. Hydra would print those of a task together with the whole
    # command line, secrets included, so they are carried around it.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    failures: list[Exception] = []

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)
    def composed(config: Any) -> None:
        try:
            task(config)
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    composed()
    if failures:
        raise failures[0]


def _as_text(argument: str) -> str:
    """An override `name=value` as Hydra reads it, quoted where its value is plain text.

    A prompt may hold commas, parentheses and whatever else means something in Hydra's grammar. What
    the grammar cannot read, or would read as a sweep, is taken as the text that it is; so is a
    template such as `{page}/{id}.mp4`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    name, found, value = argument.partition("=")
    if not found or not re.fullmatch(r"[+~]*[\w./@]+", name) or value[:1] in tuple("['\""):
        return argument
    try:
        if not OverridesParser.create().parse_override(argument).is_sweep_override():
            return argument
    except HydraException:
        pass
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"{name}='{escaped}'"


def run_in_folder(config, module: str) -> None:
    """Run a composed command in its run folder, or report that its result is already there."""
    from omegaconf import OmegaConf

    from dynamicrafter import files, runs

    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    folder = Path(plain["run_dir"])
    started = time.monotonic()
    room = importlib.import_module(module)
    if not getattr(room, "leads", lambda config: True)(config):
        _follow(room, config, plain, folder)
        return
    with files.folder_lock(folder):
        inputs = room.inputs(config)
        digest = runs.digest(plain, inputs)
        if runs.finished(folder, digest) is not None:
            say(f"{folder}: already whole, nothing to do")
            return
        runs.begin(folder, plain, inputs)
        summary = room.run(config, folder)
        seconds = time.monotonic() - started
        runs.finish(folder, digest, summary, seconds)
    say(f"{folder}: done in {seconds:.0f} s")


def _follow(room: Any, config: Any, plain: dict[str, Any], folder: Path) -> None:
    """Work in a run that another process leads, once it has begun."""
    from dynamicrafter import runs

    digest = runs.digest(plain, room.inputs(config))
    if runs.finished(folder, digest) is not None:
        say(f"{folder}: already whole, nothing to do")
        return
    began = time.monotonic()
    while not runs.has_begun(folder, digest):
        if time.monotonic() - began > FOLLOW_S:
            raise MachineError(f"{folder}: the leading process has not begun this run; start it")
        time.sleep(0.5)
    room.run(config, folder)
    say(f"{folder}: this process has done its share")


def exit_code(main: Callable[[], object]) -> int:
    """Run `main`; turn what goes wrong into one line on stderr and a documented exit code."""
    try:
        with interruptible():
            main()
    except ToolkitError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    except Exception as error:
        if (known := _known_trouble(error)) is None:
            raise
        return _fail(str(known), known.exit_code)
    return 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: unwound, with everything written being whole."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(line: str) -> None:
    """One line for the person at the terminal."""
    sys.stderr.write(redact_text(line) + "\n")


def choose_device(name: str) -> "torch.device":
    """The device that a setting names: `auto` is the GPU if there is one, NVIDIA's or Apple's.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_there in there.items() if is_there), "cpu")
    try:
        found = torch.device(name)
    except RuntimeError:
        raise InputError(f"device={name} is no device; choose auto, cpu, cuda or mps") from None
    if not there.get(found.type, True):
        raise InputError(f"device={name}, but this machine has no usable GPU; pass device=cpu")
    return found


def _fail(message: str, code: int) -> int:
    if message:  # empty where the trouble has been told already
        say("dynamicrafter: " + " ".join(message.split()))
    return code


def _known_trouble(error: Exception) -> ToolkitError | None:
    """The toolkit's own error for one of Hydra's, OmegaConf's or the operating system's."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        what, *_ = str(error).split("\n\n")  # the rest lists search paths
        return InputError(f"configuration: {what}")
    if not isinstance(error, OSError):
        return None
    place = error.filename or "the target folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"the disk is full ({place}); free some space, then run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"{place} cannot be written or read: {error.strerror}")
    return None
