"""The classifier that says which generated samples are digits, on images made to be told apart."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import digits_like

from dtda_lib.experiments.diffusion import ensemble as diffusion
from dtda_lib.experiments.diffusion import plots as plots
from dtda_lib.experiments.diffusion import quality as quality
from dtda_lib.experiments.diffusion import words as words
from dtda_lib.runs.recipes import Recipe

N = 120


@pytest.fixture(scope="module")
def experiment():
    """Images of a bar across (0) or down (1), and noise; none is ever trained on."""
    labels = torch.arange(N) % 2
    generator = torch.Generator().manual_seed(3)
    images = 0.1 * torch.randn(2 * N, 1, 28, 28, generator=generator)
    for image, label in zip(images, labels.repeat(2)):
        piece = image[0, 12:16] if label == 0 else image[0, :, 12:16]
        piece += 1
    task = replace(
        digits_like(N, N, torch.float32),
        train_x=images[:N],
        train_y=labels,
        query_x=images[N:],
        query_y=labels,
    )
    recipe = Recipe("adam", lr=1e-2, batch_size=16, epochs=1)
    return diffusion.Ensemble(task, 4, 2, 4, 1, recipe, {"device": "cpu", "workers": 1})


def samples(codes):
    return diffusion.GeneratedSamples(codes, np.arange(len(codes)), np.zeros(len(codes), dtype=int))


@pytest.mark.parametrize("gap", [0.5, 6.0], ids=["mixed", "apart"])
def test_weights_are_where_the_objective_is_flat(gap):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
    y = torch.arange(40) % 2 == 1
    x[y, 0] += gap
    w = quality.logistic_regression(x, y, 0.01).requires_grad_()
    odds = x @ w[:-1] + w[-1]
    loss = F.binary_cross_entropy_with_logits(odds, y.double()) + 0.005 * w.square().sum()
    loss.backward()
    assert w.grad.norm() < 1e-9
    assert w[0] > 0


def test_the_classifier_trains_on_half_of_either_digit():
    y = torch.tensor([0, 0, 0, 1, 1, 0, 1]) == 1
    chosen = quality.every_other(y)
    assert chosen.tolist() == [True, False, True, True, False, False, True]


def test_real_digits_pass_and_smears_do_not(experiment):
    codes = experiment.code.encode(experiment.other_images)
    smears = (codes[1::4] + codes[2::4]) / 2
    found = quality.confidence(experiment, samples(torch.cat([codes, smears])))
    rows = found.table.set_index("images")
    assert rows.loc[quality.REAL, "sure"] == 0.95  # 57 of 60, by the bound
    assert rows.loc[quality.BETWEEN, "sure"] == 0
    # Two bars of one kind make such a bar, and the distance sees no smear at all.
    assert rows.loc[quality.WITHIN, "sure"] > 0.9
    assert rows.loc[quality.SAMPLES, "n"] == N + len(smears)
    assert set(range(N, N + len(smears))) <= set(found.weak)
    assert len(found.weak) < len(smears) + 0.1 * N
    assert rows.loc[quality.SAMPLES, "sure"] == pytest.approx(
        1 - len(found.weak) / (N + len(smears))
    )


def test_a_digit_on_the_wrong_side_is_no_real_digit(experiment):
    """With all labels of the compared half wrong, hardly any margin is left."""
    labels = experiment.digits.query_y.clone()
    labels[1::40] = 0  # some bars down are called bars across
    wrong = replace(experiment, digits=replace(experiment.digits, query_y=labels))
    codes = experiment.code.encode(experiment.other_images)
    right = quality.confidence(experiment, samples(codes))
    assert quality.confidence(wrong, samples(codes)).bound < right.bound / 2


def test_three_digits_are_refused(experiment):
    labels = torch.arange(N) % 3
    three = replace(experiment, digits=replace(experiment.digits, query_y=labels))
    with pytest.raises(ValueError, match="two digits, not 3"):
        quality.confidence(three, samples(torch.zeros(2, 4)))


def told(sure, high, weak=()):
    rows = [
        (quality.SAMPLES, 10, sure, sure - 0.2, high, 1.0),
        (quality.REAL, 60, 0.95, 0.9, 0.99, 0.95),
        (quality.BETWEEN, 60, 0.1, 0.05, 0.2, 0.7),
        (quality.WITHIN, 60, 0.98, 0.9, 1.0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["images", "n", "sure", "low", "high", "near"])
    margin = np.full(10, 2.0)
    margin[list(weak)] = 0.5
    return quality.Confidence(margin, 1.0, table)


def test_sentences_follow_the_interval_and_name_the_weak():
    said = words.confidence_words(told(0.6, 0.8, weak=(0, 8))).data
    assert "as sure of 60 % [40, 80] of samples** as of 95 % of real digits: fewer" in said
    assert "Weak samples: 1 and 9." in said
    assert "90 % of smears half-way between the two digits" in said
    assert "distance to training images: 30 %), and 2 % of those within one digit." in said
    said = words.confidence_words(told(0.9, 0.97)).data
    assert "not shown to be fewer than of real digits. Weak samples: none." in said


def test_losses_of_weak_samples_are_set_beside_those_of_others():
    base = np.stack([np.arange(10.0), np.arange(10.0) + 2])  # means 1 to 10
    said = words.weak_words(told(0.8, 0.9, weak=(0, 8)), base).data
    assert "5.00 of the weak samples (from 1.00 to 9.00)" in said
    assert "5.62 of the others (from 2.00 to 10.00)" in said
    assert "alike" in words.weak_words(told(1.0, 1.0), base).data


def test_the_figure_marks_weak_samples(experiment):
    codes = experiment.code.encode(experiment.other_images[:10])
    fig, drawn = plots.samples(experiment, samples(codes), told(0.8, 0.9, weak=(0, 8)))
    plt.close(fig)
    titles = [a.title for a in fig.axes if a.title.get_text()]
    assert [t.get_text() for t in titles] == [str(n) for n in range(1, 11)]
    assert [n for n, t in enumerate(titles) if t.get_color() != "black"] == [0, 8]
    assert drawn.index[drawn["margin"] < drawn["bound"]].tolist() == [0, 8]
