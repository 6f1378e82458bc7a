"""How many threads linear algebra takes: small matrices are slower on several than on one."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Made = TypeVar("Made")

SMALL = 1024  # rows and columns below which a factorisation gains nothing from a second thread


def threads_for(dimensions: int) -> contextlib.AbstractContextManager[Any]:
    """One BLAS thread inside the block where matrices `[d, d]` are small, otherwise as it is."""
    if dimensions >= SMALL:
        return contextlib.nullcontext()
    return _libraries().limit(limits=1, user_api="blas")


def side_by_side(work: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """`work` of every item, in their order, on all cores: each item's products on one of them."""
    with (
        _libraries().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        return list(pool.map(work, items))


@functools.cache
def _libraries() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which must be there to be found

    return ThreadpoolController()
