"""What a call without settings means: one convention on the floor, and sizes that texts say."""

import inspect
from importlib import import_module
from pathlib import Path

from dtda_lib import statistics

USUAL = {"level": 0.95, "alpha": 0.05, "q": 0.05, "target": 0.8, "at_least": 2}
"""95 % intervals, 5 % errors, 80 % power, and two seeds for a standard deviation."""

OWN = {
    "between_within": {"between": "seed", "within": "checkpoint"},
    "sign_flip": {"max_flips": 4096},
    "distance": {"kind": "w2", "n_permutations": 999, "centred": False},
    "split_half": {"n_splits": 126},
    "agreement_on_halves": {"statistic": "mean"},
    "per_query_correlations": {"n_splits": 12},
    "low_noise_agreement": {"top": 0.1},
    "score": {"n_splits": 20, "n_permutations": 200},
}


def defaults():
    """Of every function and method of the floor, by its name."""
    for path in sorted(Path(statistics.__file__).parent.glob("[a-z]*.py")):
        module = import_module(f"dtda_lib.statistics.{path.stem}")
        for thing in vars(module).values():
            own = getattr(thing, "__module__", "") == module.__name__
            methods = vars(thing).values() if own and inspect.isclass(thing) else ()
            for function in (thing, *methods):
                if own and inspect.isfunction(function):
                    given = inspect.signature(function).parameters.values()
                    yield (
                        function.__name__,
                        {p.name: p.default for p in given if p.default is not p.empty},
                    )


def test_levels_are_the_same_everywhere():
    seen = []
    for function, taken in defaults():
        usual = {name: value for name, value in taken.items() if name in USUAL}
        assert usual == {name: USUAL[name] for name in usual}, function
        seen += usual
    assert set(seen) == set(USUAL)


def test_sizes_are_those_that_the_texts_and_their_costs_are_about():
    found = dict(defaults())
    for function, own in OWN.items():
        assert {name: found[function][name] for name in own} == own, function
