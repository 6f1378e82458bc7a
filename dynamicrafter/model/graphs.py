"""CUDA graphs: a forward pass recorded once for each shape of its inputs, and replayed.

At small batches a GPU computes a layer faster than Python can start it; a graph is started once.
What a graph reads are the weights where they lie and copies of the inputs, so it serves any prompt,
image and seed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MOST = 4  # recordings that are kept, of the shapes that were used last
WARM_UP = 3  # passes before the recording: compilers, autotuners and libraries make their choices


class Graphed:
    """A function of tensors (or None) to a tensor, replayed on a GPU; without gradient."""

    def __init__(self, function: Callable[..., Tensor]):
        self._function = function
        self._graphs: dict[tuple, _Recording] = {}
        self._memory: tuple | None = None  # that all recordings compute in, one at a time

    @torch.no_grad()
    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """As the function; the result is the caller's own."""
        key = (
            torch.is_autocast_enabled("cuda"),
            *(None if x is None else (x.shape, x.dtype) for x in inputs),
        )
        if self._memory is None:
            self._memory = torch.cuda.graph_pool_handle()
        recording = self._graphs.pop(key, None) or _Recording(self._function, inputs, self._memory)
        self._graphs[key] = recording  # the newest comes last
        if len(self._graphs) > MOST:
            del self._graphs[next(iter(self._graphs))]
        return recording(*inputs)


class _Recording:
    def __init__(
        self, function: Callable[..., Tensor], inputs: tuple[Tensor | None, ...], memory: tuple
    ):
        self._inputs = [None if x is None else x.clone() for x in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=memory):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        for here, given in zip(self._inputs, inputs, strict=True):
            if here is not None:
                here.copy_(given)
        self._graph.replay()
        return self._output.clone()
