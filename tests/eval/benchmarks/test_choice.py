"""The choice: a function of seed and keys, with shares by largest remainder."""

import hashlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from dynamicrafter.errors import InputError
from eval.benchmarks.catalogue import Catalogue, Entry, Words
from eval.benchmarks.choice import Queue, by_hash, fill, queues, quotas, samples_of
from eval.protocols import shipped

DYNAMICRAFTER = shipped()["dynamicrafter-2023"]


def entries(count, group="none"):
    return [
        Entry(f"{group}{n}", f"{group}{n}.mp4", (Words("w", "w"),), group) for n in range(count)
    ]


def test_shares_by_largest_remainder():
    # 10 x 5/12 = 4 + 1/6 · 10 x 4/12 = 3 + 1/3 · 10 x 3/12 = 2 + 1/2
    assert quotas({"a": 5, "b": 4, "c": 3}, 10) == {"a": 4, "b": 3, "c": 3}
    assert quotas({"a": 1, "b": 1, "c": 1}, 4) == {"a": 2, "b": 1, "c": 1}


def test_shares_add_up_and_are_off_by_less_than_one():
    sizes = {f"class{n}": 71 + 13 * n % 47 for n in range(101)}
    shared = quotas(sizes, 2048)
    assert sum(shared.values()) == 2048
    for name, size in sizes.items():
        assert abs(shared[name] - Fraction(2048 * size, sum(sizes.values()))) < 1


def test_the_lowest_hashes_of_seed_and_key_come_first():
    ordered = by_hash(entries(50), seed=3)
    digests = [hashlib.sha256(f"3/{one.key}".encode()).hexdigest() for one in ordered]
    assert digests == sorted(digests)
    assert ordered == by_hash(entries(50)[::-1], seed=3)
    assert ordered != by_hash(entries(50), seed=4)


def test_the_next_ones_take_the_place_of_bad_ones_and_no_more_are_tried():
    line = Queue("videos", entries(20), 5)
    tried = []

    def are_good(block):
        tried.extend(one.key for one in block)
        return [int(one.key[4:]) % 3 > 0 for one in block]

    fill([line], are_good)
    assert [one.key for one in line.good] == ["none1", "none2", "none4", "none5", "none7"]
    assert len(tried) == 8
    assert len(set(tried)) == 8


def test_queues_that_run_out_end():
    lines = [Queue("a", entries(2), 5), Queue("b", entries(3), None)]
    fill(lines, lambda block: [True] * len(block))
    assert [len(line.good) for line in lines] == [2, 3]


def test_the_choice_of_the_protocol():
    listed = entries(6, "a") + entries(3, "b")
    catalogue = Catalogue(None, listed, [], shares={"a": 1, "b": 3})
    hashed = queues(catalogue, listed, DYNAMICRAFTER)
    assert [(one.need, len(one.entries)) for one in hashed] == [(2048, 9)]
    whole = queues(catalogue, listed, replace(DYNAMICRAFTER, choice="all", count=None))
    assert whole[0].entries == listed
    classes = queues(catalogue, listed, replace(DYNAMICRAFTER, choice="by_class", count=4))
    assert [(one.need, Counter(e.group for e in one.entries)) for one in classes] == [
        (1, {"a": 6}), (3, {"b": 3})]  # fmt: skip


def test_by_class_needs_classes_and_a_number():
    by_class = replace(DYNAMICRAFTER, choice="by_class")
    with pytest.raises(InputError, match=r"training list"):
        queues(Catalogue(None, [], []), [], by_class)
    with pytest.raises(InputError, match=r"protocol\.count=N"):
        queues(Catalogue(None, [], []), [], replace(by_class, count=None))


def test_captions_one_or_all():
    entry = Entry("v", "v.mp4", tuple(Words(t, t) for t in "abcdefgh"))
    drawn = {samples_of(entry, replace(DYNAMICRAFTER, seed=s))[0][1].caption for s in range(40)}
    assert len(drawn) > 4
    every = samples_of(entry, replace(DYNAMICRAFTER, captions="all"))
    assert [(key, words.caption) for key, words in every][:2] == [("v-00", "a"), ("v-01", "b")]
    assert len(every) == 8
