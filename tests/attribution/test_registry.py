"""What an estimator does without settings: the numbers that texts, costs and papers speak of."""

import inspect

import pytest

from dtda_lib.attribution import curvature, posterior, unrolled_bank
from dtda_lib.attribution.influence import lissa_gain, lissa_steps, smallest_eigenvalue
from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.registry import ESTIMATORS, get_estimator
from dtda_lib.attribution.source import source_shifts
from dtda_lib.runs.recipes import Recipe

PUBLISHED_LISSA = {"damp": 5e-3, "scale": 1e4, "batch_size": 8}  # 2305.19765, run_cnn_s_test.py
PUBLISHED_SOURCE = {"segments": 3, "models": 2}  # 2405.12186
DEFAULTS = {
    "gradient_similarity": {},
    "additional_step": {},
    "influence_lissa": PUBLISHED_LISSA,
    "influence_ggn": {"damping": 0.0},
    "influence_ekfac": {"damping": 0.0},
    "influence_hessian": {"damping": 0.0},
    "influence_pinv": {"curvature": "hessian", "threshold": 1e-5, "damping": 0.0},
    "influence_leverage": {"damping": 0.0},
    "posterior_covariance": {
        "temperature": 1e-4,
        "localisation": 0.1,
        "chains": 8,
        "draws": 50,
        "thin": 5,
        "burn_in": 100,
        "step": None,
        "seed": 0,
    },
    "trak": {"damping": 0.0},
}


def settings_of(function, *without):
    given = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in given if p.name not in ("recipe", "of", *without)}


def test_settings_without_a_word_are_those_that_texts_are_about():
    assert {name: settings_of(made) for name, made in ESTIMATORS.items()} == DEFAULTS
    assert settings_of(smallest_eigenvalue) == settings_of(leverage) == {"damping": 0.0}
    assert settings_of(lissa_steps, "n_train") == {"batch_size": PUBLISHED_LISSA["batch_size"]}
    assert settings_of(lissa_gain, "steps") == {n: PUBLISHED_LISSA[n] for n in ("damp", "scale")}
    told = settings_of(source_shifts, "task", "model", "seeds", "points", "device")
    assert told == {"curvature": "ggn", "exponential": True} | PUBLISHED_SOURCE
    assert unrolled_bank.SOURCE_SETTINGS == {"curvature": "ekfac"} | PUBLISHED_SOURCE
    assert (posterior.POWER_STEPS, posterior.STABLE) == (30, 0.5)
    assert curvature.LARGEST_DENSE == 12_000


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_called_what_it_is_asked_for_by(name):
    made = get_estimator(name, Recipe("sgd", weight_decay=0.1), of="query_prediction")
    assert made.name == name
    assert made.dims == ("estimator", "train", "query", "output")
    with pytest.raises(ValueError, match=f"setting of estimator '{name}' 'dampning'"):
        get_estimator(name, Recipe("sgd", weight_decay=0.1), dampning=1.0)
