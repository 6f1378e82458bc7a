"""The ground floor: what more than one pipeline stands on.

Nothing here imports `curation`, `train` or `eval`; those three import from here and never from
each other. They talk through the files of their run folders.
"""

__version__ = "0.1.0"
