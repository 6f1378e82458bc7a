"""Things that processes make of a data set."""

from multiprocessing.reduction import ForkingPickler

import torch
from torch.utils.data import Dataset

from dynamicrafter import loaders
from dynamicrafter.loaders import loaded

PIPE = 2**16  # bytes that a pipe holds


class Numbers(Dataset):
    """Numbers that take some memory."""

    def __init__(self, count: int):
        self.rows = [f"{number:064}" for number in range(count)]

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(int(self.rows[index]))


def test_a_data_set_larger_than_a_pipe_reaches_each_process():
    numbers = Numbers(4000)
    assert len(ForkingPickler.dumps(numbers)) > 3 * PIPE
    positions = [[0, 3999], [7, 8], [1234]]
    found = list(loaded(numbers, positions, torch.stack, 2, "", pinned=False))
    wanted = [torch.stack([numbers[index] for index in part]) for part in positions]
    assert len(found) == 3
    assert all(torch.equal(here, there) for here, there in zip(found, wanted, strict=True))


def test_a_process_starts_with_little_so_that_the_next_need_not_wait_for_it():
    assert len(ForkingPickler.dumps(loaders._Handed(Numbers(4000)))) < PIPE / 16


def test_no_process_gives_the_same():
    numbers = Numbers(3)
    found = list(loaded(numbers, [[2], [0, 1]], len, 0, "", pinned=False))
    assert found == [1, 2]
