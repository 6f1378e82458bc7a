"""CUDA graphs: work that is recorded once for each shape of its inputs, and replayed.

At small batches a GPU computes a layer faster than Python can start it; a graph is started once.
What a graph reads are the weights where they lie and copies of the inputs, so it serves any prompt,
image and seed.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

MOST = 4  # recordings that are kept, of the shapes that were used last
WARM_UP = 3  # passes before the recording: compilers, autotuners and libraries make their choices


class Graphed:
    """A function of tensors (or None) to a tensor, replayed on a GPU; without gradient."""

    def __init__(self, function: Callable[..., Tensor]):
        self._function = function
        self._graphs: dict[tuple, Recording] = {}
        self._memory: tuple | None = None  # that all recordings compute in, one at a time

    @torch.no_grad()
    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """As the function; the result is the caller's own."""
        if self._memory is None:
            self._memory = torch.cuda.graph_pool_handle()
        key = (torch.is_autocast_enabled("cuda"), shapes(inputs))
        recording = self._graphs.pop(key, None) or Recording(self._function, inputs, self._memory)
        self._graphs[key] = recording  # the newest comes last
        if len(self._graphs) > MOST:
            del self._graphs[next(iter(self._graphs))]
        return recording(*inputs).clone()


class Recording:
    """A function's kernels, recorded for one shape of its inputs.

    The function must not wait for the GPU, nor read from the host, nor draw from a generator.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Tensor | None],
        memory: tuple | None = None,
        before: Callable[[], None] = lambda: None,
    ):
        """Record `function(*inputs)` after some passes to warm up.

        Args:
            function: returns tensors.
            inputs: of the shapes that it is recorded for.
            memory: the pool that it computes in, shared with recordings that never run at the same
                time and whose results are not kept; None for one of its own.
            before: called before each pass, outside of the recording.
        """
        self._inputs = [None if x is None else x.clone() for x in inputs]
        aside = _aside(torch.cuda.current_device())
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                before()
                function(*self._inputs)
        before()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads go on meanwhile, such as the one that pins what loaders deliver.
        with torch.cuda.graph(
            self._graph, pool=memory, stream=aside, capture_error_mode="thread_local"
        ):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor | None) -> Any:
        """What the function gives for these inputs, where the next replay writes as well."""
        for here, given in zip(self._inputs, inputs, strict=True):
            if here is not None:
                here.copy_(given)
        self._graph.replay()
        return self._output


@functools.cache
def _aside(device: int) -> torch.cuda.Stream:
    """The stream of all recordings: what one of them frees, only its own stream uses again."""
    return torch.cuda.Stream(device)


def shapes(inputs: Sequence[Tensor | None]) -> tuple:
    """What a recording is made for: shapes and types."""
    return tuple(None if x is None else (x.shape, x.dtype) for x in inputs)
