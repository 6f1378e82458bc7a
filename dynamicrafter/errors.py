"""Errors that end a command with one clear line, and the exit codes that go with them.

| code | meaning                                                                    |
|------|----------------------------------------------------------------------------|
| 0    | done (some clips may have been dropped; the summary counts them by reason) |
| 2    | bad configuration, a missing or broken file, weights that cannot be had    |
| 3    | more of the data failed than `max_failed_share` allows                     |
| 4    | the machine: disk full, folder in use by another run, no network           |
| 5    | training stopped before a step whose loss or gradient is not finite         |
| 130  | interrupted; the same command goes on where it stopped                     |

Anything else is a fault of the toolkit and shows a traceback with exit code 1.
"""


class ToolkitError(Exception):
    """An error whose message is one line for a person: the thing, the value, the remedy."""

    exit_code = 2


class InputError(ToolkitError):
    """A configuration, file or weight that cannot be used as it is."""


class FailedShareError(ToolkitError):
    """More items failed than the configuration tolerates."""

    exit_code = 3


class MachineError(ToolkitError):
    """The machine stands in the way: disk full, folder in use, network down."""

    exit_code = 4


class MediaError(ToolkitError):
    """A video or image that cannot be used. `reason` is the short word that is put on record."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.reason, str(self))
