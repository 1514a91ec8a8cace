"""Sentences of notebook 03 follow its tables."""

import json

import pandas as pd
import pytest

from dtda_lib.experiments.sources_of_noise import tables, words
from dtda_lib.study.claims import Claim
from dtda_lib.study.evidence import load

NOTEBOOK = "03_sources_of_noise"
TEXT = {"source": "x", "status": "refuted", "n": 9, "setting": "toy", "estimand": "law"}


def claim(name, low, high):
    about = {"claim": name, "statistic": "ratio", "rule": "stated", **TEXT}
    return Claim(id=name, estimate=(low + high) / 2, ci=(low, high), **about).as_dict()


CLAIMS = {
    "B5": (0.02, 0.05), "B5-steps": (0.6, 0.9), "B5-loss": (0.4, 0.8), "B5-snr": (2.0, 4.0),
    "B6": (0.8, 1.3), "B6-depth": (0.7, 1.1), "B6-published": (1.2, 1.9),
}  # fmt: skip


@pytest.fixture
def told(tmp_path):
    """The answer to evidence with these intervals in place of the usual ones."""

    def make(
        difference=(-0.05, 0.05),
        fitted=(3.0, 4.0),
        both=0.4,
        status=None,
        parameters=(9, 5, 3),
        **changed,
    ):
        folder = tmp_path / "figures" / "paper"
        folder.mkdir(parents=True, exist_ok=True)
        claims = [claim(name, *ends) for name, ends in (CLAIMS | changed).items() if ends]
        claims = [c | {"status": (status or {}).get(c["id"], c["status"])} for c in claims]
        content = {"notebook": NOTEBOOK, "commit": "abc", "claims": claims}
        (folder / f"{NOTEBOOK}.claims.json").write_text(json.dumps(content))
        shares = {"init": 0.3, "order": 0.3, "init x order": both}
        rows = [(name, s, s - 0.02, s + 0.02) for name, s in shares.items()]
        rows.append(("init - order", sum(difference) / 2, *difference))
        columns = ["quantity", "estimate", "low", "high"]
        components = pd.DataFrame(rows, columns=columns).assign(method="loo", weighting="equal")
        rates = [
            ("ViT+LoRA, rate ×1", 0.5, 0.4, 0.6, 0.85),
            ("ViT+LoRA, rate ×10", 3.5, *fitted, 0.15),
        ]
        models = pd.DataFrame(rates, columns=["setting", *columns[1:], "loss"])
        depths = {"setting": ["depth 1", "depth 2", "depth 10"], "parameters": parameters}
        models = pd.concat([pd.DataFrame(depths), models]).assign(n_seeds=8)
        sizes = pd.DataFrame(
            {"first": "30 points", "second": f"{points} points", "points": points, "arm": arm,
             "quantity": "sigma", "estimate": ratio, "low": ratio - 0.02, "high": ratio + 0.02}
            for arm, ratios in (("epochs", (0.5, 0.4)), ("steps", (0.7, 0.6)), ("loss", (0.9, 0.8)))
            for points, ratio in zip((60, 600), ratios, strict=True)
        )  # fmt: skip
        crop = {"what": "shift", "way": "other", "ratio": 883.0}
        for name, table in {
            "components": pd.concat([components.assign(size=10), components.assign(size=50)]),
            "sizes": sizes,
            "models": models.assign(quantity="relative"),
            "crops": pd.DataFrame([crop | {"ratio_low": 50.8, "ratio_high": 15300.0}]),
        }.items():
            table.to_csv(folder / f"{NOTEBOOK}-{name}.csv", index=False)
        return words.answer(load(tmp_path))

    return make


def test_the_answer_is_five_sentences_or_so_without_keys(told):
    sentences = told()
    assert len(sentences) == 5
    assert "_" not in " ".join(sentences)
    assert sentences[4].endswith("one shift at the largest rate by 880 [51, 15,000].")


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        ((-0.05, 0.05), "Initialisation and batch order give equal parts of the noise: with 50"),
        ((0.12, 0.4), "Initialisation gives more of the noise than batch order"),
        ((-0.4, -0.12), "Batch order gives more of the noise than initialisation"),
        ((-0.4, 0.05), "Initialisation does not give more of the noise than batch order"),
        ((-0.05, 0.4), "Initialisation and batch order are not told apart"),
    ],
)
def test_the_two_seeds_are_told_by_the_margin(told, difference, verdict):
    sentence = told(difference)[0]
    assert sentence.startswith(verdict)
    assert "30 % [28, 32] and 30 % [28, 32] of the variance" in sentence
    assert "interaction 40 % [38, 42]" in sentence


@pytest.mark.parametrize(
    ("status", "said"),
    [("refuted", "noise does not first rise"), ("confirmed", "noise first rises with"),
     ("inconclusive", "noise may first rise"), ("partly", "noise may first rise")],
)  # fmt: skip
def test_more_data_are_told_by_the_verdict_and_by_three_arms(told, status, said):
    sentence = told(status={"B5": status})[1]
    assert sentence.startswith(f"With equal epochs, {said}")
    assert "Relative to 30 points, σ is 0.50 [0.48, 0.52] with 60 points and 0.40 " in sentence
    assert "equal training loss it is 0.90 [0.88, 0.92] with 60 points and 0.80" in sentence
    assert "at equal steps 0.70 [0.68, 0.72] with 60 points and 0.60" in sentence


def test_other_images_are_told_where_they_have_run(told):
    sentences = told(**{"B1-digits-t": (0.0, 0.0), "B1-cifar10-t": (0.0, 0.1)})
    assert sentences[5].endswith(
        "0 % of 9 pairs on all ten digits and 5.0 % [0, 10.0] of 9 pairs on CIFAR-10 (JPEG copies)."
    )


@pytest.mark.parametrize(
    ("ci", "said"),
    [((1.1, 1.3), "Influence falls faster: σ/|μ| grows by a factor of 1.2"),
     ((0.1, 0.3), "Influence falls less: σ/|μ| changes by"),
     ((0.5, 2.0), "Influence is not shown to fall faster or less: σ/|μ| changes by a")],
)  # fmt: skip
def test_noise_is_told_beside_influence(told, ci, said):
    assert said in told(**{"B5-snr": ci})[1]


def test_what_both_seeds_make_together_is_told_first(told):
    sentence = told((-0.05, 0.05), both=0.9)[0]
    assert sentence.startswith("Neither seed makes the noise alone: with 50 points a class, 90 %")


@pytest.mark.parametrize(
    ("ci", "verdict"),
    [((1.5, 2.0), "are noisier: "), ((0.8, 1.3), "are not noisier: "),
     ((1.2, 2.0), "are not shown to be noisier: ")],
)  # fmt: skip
def test_wider_networks_are_told_by_the_effect_that_matters(told, ci, verdict):
    assert told(B6=ci)[2].startswith(f"Wider networks {verdict}")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [((9, 5, 3), "deepest, which has fewest parameters, 0.90"),
     ((3, 5, 9), "deepest, which has most parameters, 0.90"), ((3, 9, 5), "deepest 0.90")],
)  # fmt: skip
def test_the_size_of_the_deepest_network_is_that_of_the_table(told, parameters, said):
    assert f"of the {said}" in told(parameters=parameters)[2]


def test_the_ratio_that_noise_alone_gives_is_told_beside_ratios(told):
    alone = tables.noise_only(8)
    assert f"Without any influence σ/|μ| over 8 seeds is {alone:.1f}, so it" in told()[2]


def test_fit_is_told_only_where_intervals_are_apart(told):
    assert told()[3].startswith("The transformer's influence sinks into noise once it")
    assert told(fitted=(0.5, 4.0))[3].startswith("σ/|μ| of the transformer is 0.50 [0.40, 0.60]")


def test_what_is_not_tested_is_not_told(told):
    sentences = told(**{"B5-snr": None, "B6-depth": None})
    assert len(sentences) == 3
    assert not any("more data" in s or "Wider" in s for s in sentences)
