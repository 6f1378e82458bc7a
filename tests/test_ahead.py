"""Things made ahead: in order, bounded, with their errors, and stopped with whoever asks."""

import threading

import pytest

from dynamicrafter.ahead import ahead


def test_the_order_is_kept_and_nothing_is_lost():
    assert list(ahead(iter(range(100)))) == list(range(100))


def test_no_more_are_made_than_asked_for():
    made = []

    def things():
        for number in range(100):
            made.append(number)
            yield number

    taken = ahead(things(), count=2)
    next(taken)
    taken.close()
    assert len(made) <= 5


def test_an_error_comes_after_what_was_good():
    def things():
        yield 1
        yield 2
        raise ValueError("three")

    found = []
    with pytest.raises(ValueError, match="three"):  # noqa: PT012 - what came before it counts
        for item in ahead(things()):
            found.append(item)
    assert found == [1, 2]


def test_the_thread_ends_with_the_loop():
    before = threading.active_count()
    for item in ahead(iter(range(1000))):
        if item == 3:
            break
    assert threading.active_count() == before
