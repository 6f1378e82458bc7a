"""Signals: the first asks, the second interrupts, afterwards all is as before."""

import os
import signal

import pytest

from dynamicrafter.stopping import SIGNALS, stop_requests


@pytest.fixture(autouse=True)
def as_before():
    """Whatever a test does, pytest's own handlers come back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks(number):
    with stop_requests() as stop:
        assert not stop.made
        send(number)
        assert stop.made


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_the_second_interrupts(first, second):
    with stop_requests() as stop:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(second)
        assert stop.made


def test_handlers_are_restored_however_the_block_ends():
    heard = []

    def hear(signum, frame):
        heard.append(signum)

    for number in SIGNALS:
        signal.signal(number, hear)
    with stop_requests() as stop:
        send(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stop_requests():
        raise ZeroDivisionError
    assert stop.made
    assert heard == []
    assert [signal.getsignal(number) for number in SIGNALS] == [hear] * 3
    for number in SIGNALS:
        send(number)
    assert heard == list(SIGNALS)


def test_a_request_lasts_for_its_block_alone():
    with stop_requests():
        send(signal.SIGUSR1)
    with stop_requests() as later:
        assert not later.made
