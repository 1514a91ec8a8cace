"""The published CIFAR-10 lists: what they are, and the rule that says which split they index."""

import hashlib
import importlib.resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dtda_lib.data.published_lists import (
    N_TEST,
    N_TRAIN,
    SIZES,
    TEST,
    TRAIN,
    UNDECIDED,
    counts_per_class,
    has_generator_form,
    list_table,
    published_cifar10_lists,
    verdict,
)
from dtda_lib.data.sources import QUERIES

SHARED = Path(__file__).parents[3] / "shared" / "data"
FROM_TEST, FROM_TRAIN = ["10pc", "30pc", "40pc"], ["20pc", "50pc", "60pc"]
SHA256 = {  # of the published files
    "test_subset": "c72517628ee6edd909df2aed2b101e04846504d959415014c5888698f035490d",
    "train_subset_10pc": "d5f3dc67bd9a7a022ae0c1f89262b1716e159158b2f3aa8c38c6007a21c79f02",
    "train_subset_20pc": "826545433ea404d3e456ff8978c285ff6642255e6502fe4fd15e20940ddd9d34",
    "train_subset_30pc": "c87725f73bff1206d43a00cb8916c5880e88654b3cf6b45462b533f76e43a94e",
    "train_subset_40pc": "f2d42bf68f9260e7a4f732b7447f5860bc0cac8bbb13727e592bed50d3cdac98",
    "train_subset_50pc": "fc62f053f0721a33ef22da5eb26361918743a66a6e8be3b59614b7d3f18c626a",
    "train_subset_60pc": "ed14def8877894ea6c2375ca06b1a03fb375ad75623569c3a67b2b6de320be2f",
}


@pytest.fixture(scope="module")
def labels():
    """Official labels of the training and the test set, in official order."""
    folder = SHARED / "cifar10-jpeg"
    if not folder.is_dir():
        pytest.skip("the CIFAR-10 labels are not beside this repository")
    return [np.loadtxt(folder / f"{part}_labels.txt", dtype=int) for part in ("train", "test")]


def made_up(n, seed):
    """Labels of a made-up split of `n` images, ten classes."""
    return np.random.default_rng(seed).integers(10, size=n)


def drawn(labels, each, seed=0):
    """Positions as the published generator draws them."""
    rng = np.random.default_rng(seed)
    classes = dict.fromkeys(labels.tolist())
    return [
        int(row) for c in classes for row in rng.choice(np.flatnonzero(labels == c), each, False)
    ]


# -------------------------------------------------------------- the shipped files


def test_the_shipped_lists_are_the_published_ones():
    folder = importlib.resources.files("dtda_lib") / "data" / "files" / "published-cifar10"
    for name, expected in SHA256.items():
        assert hashlib.sha256((folder / f"{name}.txt").read_bytes()).hexdigest() == expected
    assert "Copyright (c) 2023 Elisa Nguyen" in (folder / "LICENSE").read_text()


def test_lists_have_the_sizes_of_their_names():
    lists = published_cifar10_lists()
    assert list(lists) == [*SIZES, QUERIES]
    assert [len(positions) for positions in lists.values()] == [100, 200, 300, 400, 500, 600, 500]
    assert all(len(set(positions)) == len(positions) for positions in lists.values())


# -------------------------------------------------------------- R5


def test_three_training_lists_are_test_positions_by_position_alone():
    table = list_table(published_cifar10_lists()).set_index("list")
    assert table["verdict"].to_dict() == {
        **dict.fromkeys([*FROM_TEST, QUERIES], TEST),
        **dict.fromkeys(FROM_TRAIN, TRAIN),
    }
    assert (table.loc[FROM_TEST, "share_below_10000"] == 1).all()
    assert table.loc[FROM_TRAIN, "share_below_10000"].between(0.15, 0.25).all()
    assert (table.loc[FROM_TEST, "log10_chance"] < -69).all()
    assert table.loc[FROM_TEST, "shared_with_queries"].tolist() == [6, 13, 15]
    assert table.loc[FROM_TEST, "shared_by_chance"].tolist() == [5, 15, 20]
    assert table[["train_fewest", "test_form"]].isna().all(axis=None)


def test_the_labels_say_the_same(labels):
    table = list_table(published_cifar10_lists(), *labels).set_index("list")
    assert table["verdict"].equals(list_table(published_cifar10_lists()).set_index("list").verdict)
    for name, row in table.iterrows():
        from_test = name in (*FROM_TEST, QUERIES)
        assert (row.train_form, row.test_form) == (not from_test, from_test)
        each = row.n // 10
        if from_test:
            assert (row.test_fewest, row.test_most) == (each, each)
            assert row.train_fewest < each < row.train_most
        else:
            assert (row.train_fewest, row.train_most) == (each, each)
            assert pd.isna(row.test_most)
    assert (table.loc["10pc", "train_fewest"], table.loc["10pc", "train_most"]) == (5, 14)


# -------------------------------------------------------------- the rule on made-up splits


def test_the_rule_finds_the_split_that_a_list_was_drawn_from():
    train, test = made_up(N_TRAIN, 1), made_up(N_TEST, 2)
    early = drawn(train[:N_TEST], 3)  # training positions that all lie below 10,000
    assert verdict(early, train, test) == TRAIN
    assert verdict(drawn(test, 3), train, test) == TEST
    assert verdict(drawn(train, 30), train, test) == TRAIN
    assert verdict([5, 3, 4], train, test) == UNDECIDED
    assert verdict([1, 2, 3]) == UNDECIDED, "three low positions prove nothing"
    assert verdict(list(range(9))) == TEST, "0.2 to the ninth is below a millionth"
    assert verdict([10_000]) == TRAIN


def test_the_form_of_the_generator():
    labels = np.array([2, 0, 2, 1, 0, 1, 2])
    assert has_generator_form([6, 0, 4, 1, 3, 5], labels)
    assert not has_generator_form([1, 4, 0, 6, 3, 5], labels), "classes in another order"
    assert not has_generator_form([0, 1, 2, 3, 4, 5], labels), "classes mixed"
    assert not has_generator_form([0, 0, 1, 4, 3, 5], labels), "one position twice"
    assert not has_generator_form([0, 1, 3, 5], labels), "unequal classes"
    assert not has_generator_form([0, 1, 7], labels), "no such position"
    assert not has_generator_form([], labels)
    assert counts_per_class([6, 0, 3], labels).tolist() == [0, 1, 2]
    assert counts_per_class([1, 1], labels).tolist() == [2, 0, 0], "a class that no position holds"


REFUSED = {
    "unknown published list 'queries'": lambda: list_table({"a": [1]}, queries="queries"),
    "'a': it must hold at least one position": lambda: list_table({"a": []}, queries="a"),
    "within 0 to 49999": lambda: list_table({"a": [50_000]}, queries="a"),
    "3 training labels are given; CIFAR-10 has 50,000": lambda: list_table(
        {"a": [1]}, [0, 1, 2], made_up(N_TEST, 0), queries="a"
    ),
    "3 test labels": lambda: list_table({"a": [1]}, made_up(N_TRAIN, 0), [0, 1, 2], queries="a"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_impossible_lists_are_refused(message):
    with pytest.raises(ValueError, match=message) as refusal:
        REFUSED[message]()
    assert "\n" not in str(refusal.value)
