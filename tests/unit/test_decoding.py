"""The second process that decodes: what it answers, and that nothing is lost when it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing

import pytest

from liberator import decoding
from liberator.decoding import Decoder


def split(mark):
    """What is decoded in these tests: words, each a row; ``mark`` shows by whose order."""

    def decode(block):
        if b"bad" in block:
            raise ValueError
        return [(mark, word.decode()) for word in block.split()]

    return decode


A, B = (split, ("a",)), (split, ("b",))


@pytest.fixture
def decoder():
    with closing(Decoder()) as made:
        deadline = time.monotonic() + 30
        while not made.ready and time.monotonic() < deadline:
            made._line.poll(0.1)
        assert made.ready
        yield made


def test_rows_come_back_in_the_order_of_the_blocks(decoder):
    numbers = [decoder.give(A, b"one two"), decoder.give(B, b"three"), decoder.give(A, b"")]
    assert [decoder.take(n) for n in numbers] == [[("a", "one"), ("a", "two")], [("b", "three")], []]


def test_a_block_that_cannot_be_decoded_is_left_to_the_caller(decoder):
    first, second = decoder.give(A, b"bad"), decoder.give(A, b"good")
    assert decoder.take(first) is None
    assert decoder.take(second) == [("a", "good")]


def test_blocks_that_nobody_asks_for_are_passed_over(decoder):
    numbers = [decoder.give(A, b"%d" % i) for i in range(5)]
    assert decoder.take(numbers[3]) == [("a", "3")]
    assert decoder.take(numbers[2]) is None
    assert decoder.take(numbers[4]) == [("a", "4")]


def test_more_than_fits_into_a_pipe_can_be_given_before_anything_is_taken(decoder):
    numbers = [decoder.give(A, b"%d " % i * 100_000) for i in range(10)]
    assert [decoder.take(n) for n in numbers] == [[("a", str(i))] * 100_000 for i in range(10)]


def test_one_that_is_killed_is_done_without(decoder):
    first = decoder.give(A, b"one")
    assert decoder.take(first) == [("a", "one")]
    decoder.process.kill()
    decoder.process.wait()
    numbers = [decoder.give(A, b"two"), decoder.give(B, b"three")]
    assert [decoder.take(n) for n in numbers] == [None, None]
    assert not decoder.ready


def test_one_that_does_not_answer_is_not_waited_for_for_ever(decoder, monkeypatch):
    monkeypatch.setattr(decoding, "PATIENCE", 0.2)
    os.kill(decoder.process.pid, signal.SIGSTOP)
    assert decoder.take(decoder.give(A, b"one")) is None
    assert not decoder.ready
    assert decoder.process.returncode == -signal.SIGKILL


def test_one_that_takes_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(decoding, "PATIENCE", 0.2)
    with closing(Decoder()) as made:
        os.kill(made.process.pid, signal.SIGSTOP)
        numbers = [made.give(A, b"one " * 1_000_000) for _ in range(5)]
        assert not made.ready
        assert [made.take(n) for n in numbers] == [None] * 5
        assert made.process.returncode == -signal.SIGKILL


def test_where_no_process_can_be_started_it_is_never_ready(monkeypatch):
    def refuse(*_args, **_options):
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with closing(Decoder()) as made:
        assert not made.ready
        assert made.take(made.give(A, b"one")) is None


def test_it_ends_with_the_first_process_and_not_by_signals_to_both(decoder):
    for number in (signal.SIGINT, signal.SIGTERM):
        decoder.process.send_signal(number)
    assert decoder.take(decoder.give(A, b"one")) == [("a", "one")]
    decoder._line.close()
    assert decoder.process.wait(30) == 0
    decoder._line = None
