"""Which model is asked: opened once a process, when the first clip needs it, and held to.

    captions/model.json    in a run folder: what was asked for, and the model that was found

A run that goes on must go on with the model that it began with, or its captions would be of two
kinds. Another setting of the captioner is another matter: then the file is replaced.
"""

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from curation.captions.question import Model
from curation.captions.vlm import VlmSettings
from curation.tables import digest_rows
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, write_json

MODEL = "captions/model.json"
_OF_THE_MODEL = ("model", "revision", "dtype")
"""Settings of an engine that make another model of it."""

OPENING_LOOK_S = 0.2  # between two looks at whether the run has ended meanwhile
CLOSE_S = 30.0

_lock = threading.Lock()
_keepers: "dict[str, _Keeper]" = {}
_has_ended = threading.Event()


class _Keeper(threading.Thread):
    """Opens a model, keeps it and closes it: an engine's process dies with the thread it began in.

    So nobody who needs the model is held up by its opening once the run has ended.
    """

    def __init__(self, settings: VlmSettings, folder: Path):
        super().__init__(name="model", daemon=True)
        self._settings, self._folder = settings, folder
        self.is_ready, self.shall_end = threading.Event(), threading.Event()
        self.model: Model | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            model = open_model(self._settings, self._folder)
            try:
                hold_to(model.identity, self._settings, self._folder)
            except BaseException:
                model.close()
                raise
        except BaseException as error:  # noqa: BLE001 - raised by those who wait for the model
            self.error = error
            self.is_ready.set()
            return
        self.model = model
        self.is_ready.set()
        self.shall_end.wait()
        model.close()


def shared_model(settings: VlmSettings, folder: Path) -> Model:
    """The model of this process for a run folder, opened if need be; any thread may call this.

    Raises:
        InputError: it is not the one that this run began with, or the settings cannot be used.
        MachineError: no server is there.
        CancelledError: the models were closed meanwhile.
    """
    key = f"{folder}\n{settings!r}"
    with _lock:
        if _has_ended.is_set():
            raise CancelledError
        if key not in _keepers:
            _keepers[key] = _Keeper(settings, folder)
            _keepers[key].start()
        keeper = _keepers[key]
    while not keeper.is_ready.wait(OPENING_LOOK_S):
        if keeper.shall_end.is_set():
            raise CancelledError
    if keeper.error is not None:
        raise keeper.error
    assert keeper.model is not None
    return keeper.model


def close_models() -> None:
    """Close what is open in this process, for good: whoever waits for an answer gets an error."""
    with _lock:
        _has_ended.set()
        keepers = list(_keepers.values())
        _keepers.clear()
    for keeper in keepers:
        keeper.shall_end.set()
    for keeper in keepers:
        if keeper.is_ready.is_set():  # else it is still opening, and nobody waits for it
            keeper.join(CLOSE_S)


@contextmanager
def closing_models() -> Iterator[None]:
    """Models may be opened in the block; they are closed after it, whatever happens.

    They are closed at once when the process is told to stop, so that no thread waits for answers
    that nobody wants any more.
    """
    _has_ended.clear()
    before: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        # Not here: what holds the lock may be the code that was interrupted.
        threading.Thread(target=close_models, daemon=True).start()
        handler = before[number]
        if callable(handler):
            handler(number, frame)
        else:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGINT, signal.SIGTERM) if is_main else ():
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        close_models()


def open_model(settings: VlmSettings, folder: Path) -> Model:
    """A model as the settings say, behind the cache of answers that all runs share.

    Raises:
        InputError: a setting cannot be used.
        MachineError: no server is there, or the engine does not start.
    """
    from curation.captions.cache import CachedModel, ReplyCache

    cache = ReplyCache(cache_of(settings))
    try:
        return CachedModel(_bare_model(settings, folder), cache)
    except BaseException:
        cache.close()
        raise


def check_backend(settings: VlmSettings) -> None:
    """Look at the settings of the server or engine before there is anything to ask.

    Raises:
        OmegaConfBaseException: a name or type is wrong.
        InputError: a value cannot be used.
    """
    if settings.backend == "http":
        _client_settings(settings)
    else:
        _engine_settings(settings, Path())


def _bare_model(settings: VlmSettings, folder: Path) -> Model:
    if settings.backend == "engine":
        from curation.captions.engine import EngineModel

        return EngineModel(_engine_settings(settings, folder))
    from curation.captions.client import HttpModel

    return HttpModel(_client_settings(settings))


def _client_settings(settings: VlmSettings) -> Any:
    from curation.captions.client import ClientSettings

    return _as(ClientSettings, {**settings.client, "model": settings.model})


def _engine_settings(settings: VlmSettings, folder: Path) -> Any:
    from curation.captions.engine import EngineSettings

    log = str(folder / "captions" / "engine.log")
    return _as(EngineSettings, {**settings.engine, "model": settings.model, "log": log})


def _as(kind: type, section: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), section))


def cache_of(settings: VlmSettings) -> Path:
    """The folder of the cache of answers."""
    from dynamicrafter.assets import cache_folder

    return Path(settings.cache).expanduser() if settings.cache else cache_folder() / "captions"


def known_identity(settings: VlmSettings, folder: Path) -> str | None:
    """The model that this run was begun with, or None if it has asked none yet."""
    path = folder / MODEL
    if not path.exists():
        return None
    found = read_json(path)
    return found["identity"] if found["asked"] == _asked(settings) else None


def hold_to(identity: str, settings: VlmSettings, folder: Path) -> None:
    """Note the model that a run is begun with.

    Raises:
        InputError: it was begun with another.
    """
    path = folder / MODEL
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):  # other ranks find theirs at the same time
        known = known_identity(settings, folder)
        if known is None:
            write_json(path, {"asked": _asked(settings), "identity": identity})
        elif known != identity:
            raise InputError(
                f"this run was begun with the model {known}, and now finds {identity}; choose "
                f"another run_dir, or remove {path} to ask the new one about every clip"
            )


def _asked(settings: VlmSettings) -> str:
    """Digest of the settings that choose a model."""
    own = {name: settings.engine.get(name) for name in _OF_THE_MODEL}
    chosen = [settings.backend, settings.model]
    return digest_rows([*chosen, json.dumps(own)] if settings.backend == "engine" else chosen)
