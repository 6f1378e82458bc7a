"""Other methods that make videos: one module each, found by its name.

An adapter is a module with three functions. `config` is conf/eval_generate.yaml; what only one
adapter knows is added to it on the command line (`+name=value`).

    digest(config) -> str        of the weights; refuses a model that cannot be used
    settings(config) -> dict     all that decides a video beside its item and the weights, as JSON;
                                 refuses what cannot be
    load(config, device) -> f    f(items) is a list of uint8 `[t, h, w, 3]`, one for each item. A
                                 video depends on the settings, the item's key, image and prompt,
                                 and not on its neighbours.
"""

import importlib
import pkgutil
from types import ModuleType

from dynamicrafter.errors import InputError

FUNCTIONS = ("digest", "settings", "load")


def find(name: str) -> ModuleType:
    """The adapter of a name: one of this package, or any module by its dotted name.

    Raises:
        InputError: there is no such module, or it is no adapter.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    unknown = f"adapter={name}: no module of that name, and not one of {', '.join(names)}"
    if not all(part.isidentifier() for part in str(name).split(".")):
        raise InputError(unknown)
    place = f"{__name__}.{name}" if name in names else str(name)
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if not (error.name and f"{place}.".startswith(f"{error.name}.")):
            raise  # the module is there and lacks another one
        raise InputError(unknown) from None
    if missing := [one for one in FUNCTIONS if not hasattr(module, one)]:
        raise InputError(f"adapter={name}: the module has no function {', '.join(missing)}")
    return module
