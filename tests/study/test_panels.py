"""Panels and their axes, which most figures share."""

import matplotlib.pyplot as plt

from dtda_lib.study.figures import TEXT_WIDTH, panels, ticks


def test_panels_are_in_text_width_and_always_a_table():
    fig, axes = panels(1, 1, 2.0)
    assert axes.shape == (1, 1)
    assert fig.get_size_inches().tolist() == [TEXT_WIDTH, 2.0]
    other, axes = panels(2, 3, 4.0, sharey=True)
    assert axes.shape == (2, 3)
    axes[0, 0].set_ylim(0, 7)
    assert axes[1, 2].get_ylim() == (0, 7)
    for each in (fig, other):
        plt.close(each)


def test_ticks_are_plain_numbers_and_no_others():
    fig, ((axis,),) = panels(1, 1, 2.0)
    axis.set(xscale="log", yscale="log", xlim=(0.05, 20), ylim=(1, 90))
    ticks(axis.xaxis, [0.1, 1, 10])
    assert [text.get_text() for text in axis.get_xticklabels()] == ["0.1", "1", "10"]
    assert len(axis.get_xticks(minor=True)) == len(axis.get_yticks(minor=True)) == 0
    ticks(axis.yaxis, [2], ["two"])
    assert [text.get_text() for text in axis.get_yticklabels()] == ["two"]
    plt.close(fig)
