"""The comparison with other libraries: adapters against dense oracles, and the committed result.

A library that is not installed (extra `anchors`) is skipped; curvlinops comes with extra `test`.
"""

import math
from pathlib import Path

import pytest
import torch
from helpers import table_like
from test_influence import classes_like
from torch.func import grad, hessian, vmap

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.experiments.scoreboard import libraries
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DAMPING, L2 = 0.05, 0.02
PACKAGES = {
    "curvlinops_ekfac": "curvlinops",
    "kronfluence_ekfac": "kronfluence",
    "dattri_ekfac": "dattri",
    "dattri_grad_dot": "dattri",
    "captum_hessian": "captum",
    "captum_grad_dot": "captum",
    "traker_trak": "trak",
}


@pytest.fixture
def scores_of(monkeypatch):
    """`scores_of(name, network, theta, task)` by the adapter of that name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from adapters import ADAPTERS

    assert set(ADAPTERS) == set(PACKAGES)

    def scores(name, network, theta, task, **settings):
        pytest.importorskip(PACKAGES[name], reason=f"extra `anchors`: {PACKAGES[name]} is missing")
        return ADAPTERS[name].scores(network, theta, task, DAMPING, **settings)

    return scores


def prepared(kind):
    """A network, its weights in float64 and a task; "linear" has one layer and a bias."""
    if kind == "linear":
        task, model = table_like(), get_model("mlp", widths=(8, 1))
    else:
        task, model = classes_like(), get_model("mlp", widths=(4, 5, 3), activation="tanh")
    return Network.of(model), initial_theta(model, 3, torch.float64), task


def gradients(network, theta, task):
    """Loss gradients of training points and queries, each `(example, parameter)`."""

    def loss(theta, x, y):
        return task.per_example_loss(network(theta, x[None]), y[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    return each(theta, task.train_x, task.train_y), each(theta, task.query_x, task.query_y)


def full_hessian(network, theta, task):
    return hessian(lambda t: task.per_example_loss(network(t, task.train_x), task.train_y).mean())(
        theta
    )


def ours(name, network, theta, task, **settings):
    recipe = Recipe("sgd", lr=0.1, batch_size=task.n_train, epochs=1, weight_decay=L2)
    return get_estimator(name, recipe, **settings)(network, theta, task)[0]


def close(found, wanted, rtol=1e-8):
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol * float(wanted.abs().max()))


# --- adapters against oracles ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["curvlinops_ekfac", "kronfluence_ekfac", "captum_hessian"])
def test_exact_on_linear_regression(name, scores_of):
    network, theta, task = prepared("linear")
    train, query = gradients(network, theta, task)
    matrix = full_hessian(network, theta, task) + DAMPING * torch.eye(len(theta)).double()
    wanted = train @ torch.linalg.solve(matrix, query.T) / task.n_train
    close(scores_of(name, network, theta, task), wanted)


def test_curvlinops_equals_our_ekfac_on_a_network(scores_of):
    network, theta, task = prepared("classes")
    wanted = ours("influence_ekfac", network, theta, task, damping=DAMPING - L2)
    close(scores_of("curvlinops_ekfac", network, theta, task), wanted)


def test_kronfluence_is_our_ekfac_up_to_sampled_labels(scores_of):
    network, theta, task = prepared("classes")
    wanted = ours("influence_ekfac", network, theta, task, damping=DAMPING - L2)
    found = scores_of("kronfluence_ekfac", network, theta, task)
    assert torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1] > 0.9
    assert 0.5 < float(found.norm() / wanted.norm()) < 2


def test_dattri_takes_rows_of_eigenvectors_for_columns(scores_of):
    """Its EK-FAC (true labels) is diagonal in a wrong basis, which is why its row is so low.

    One output, where its order of weights and bias does no harm. A release that is mended turns
    this red, and the row's description with it.
    """
    network, theta, task = prepared("linear")
    train, query = gradients(network, theta, task)
    a = torch.cat([task.train_x, torch.ones(task.n_train, 1).double()], dim=1)  # (train, input + 1)
    residual = task.train_y - network(theta, task.train_x)[:, 0]
    _, basis = torch.linalg.eigh(a.T @ a / task.n_train, UPLO="U")  # as there: signs matter here
    for columns, is_dattri in ((basis, False), (basis.T, True)):
        power = ((a @ columns).square() * residual.square()[:, None]).mean(dim=0)
        inverse = columns @ torch.diag(1 / (power + DAMPING)) @ columns.T
        wanted = train @ inverse @ query.T / task.n_train
        found = scores_of("dattri_ekfac", network, theta, task).double()  # the library has float32
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * wanted.max()) == is_dattri


def test_captum_inverts_the_positive_part_of_the_hessian(scores_of):
    network, theta, task = prepared("classes")
    train, query = gradients(network, theta, task)
    values, vectors = torch.linalg.eigh(full_hessian(network, theta, task))
    assert values[0] + DAMPING < 0  # or nothing would be dropped
    kept = values + DAMPING > 0
    inverse = vectors[:, kept] @ torch.diag(1 / (values[kept] + DAMPING)) @ vectors[:, kept].T
    wanted = train @ inverse @ query.T / task.n_train
    close(scores_of("captum_hessian", network, theta, task), wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["dattri_grad_dot", "captum_grad_dot"])
@pytest.mark.parametrize("kind", ["linear", "classes"])
def test_grad_dot_is_the_product_of_gradients(name, kind, scores_of):
    network, theta, task = prepared(kind)
    train, query = gradients(network, theta, task)
    rtol = 1e-8 if name.startswith("captum") else 1e-5  # dattri has float32
    close(scores_of(name, network, theta, task).double(), train @ query.T, rtol=rtol)


def test_traker_without_projection_is_ours_up_to_one_factor(scores_of):
    network, theta, task = prepared("classes")
    wanted = ours("trak", network, theta, task, damping=DAMPING - L2)
    found = scores_of("traker_trak", network, theta, task, dimension=0)
    close(found * (wanted.norm() / found.norm()), wanted, rtol=1e-3)  # the library has float32


# --- the committed result -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result():
    return libraries.comparison()


def test_every_method_of_the_script_has_been_measured(result, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import anchors

    rows = {row["method"]: row for row in result["rows"]}
    assert set(rows) == {*anchors.OURS, *anchors.ADAPTERS}
    assert {row["status"] for row in rows.values()} == {"measured"}
    for name, adapter in anchors.ADAPTERS.items():
        assert rows[name]["library"] == adapter.package
        assert rows[name]["version"]
        assert rows[name]["ours"] in anchors.OURS
    assert len({row["library"] for row in rows.values()} - {None}) == 5
    told, script = result["settings"], anchors.the_setting()
    assert told["task"] == script.task.name
    assert (told["train"], told["queries"]) == (script.task.n_train, script.task.n_query)
    assert (told["rate"], told["l2"]) == (anchors.RECIPE.lr, anchors.RECIPE.weight_decay)
    assert told["damping"] == anchors.DAMPING
    assert told["models"] == anchors.MODELS
    assert told["truth_seeds"] == anchors.TRUTH_SEEDS
    assert told["subsets"] == anchors.SUBSETS


def numbers(found):
    if isinstance(found, dict):
        return [n for value in found.values() for n in numbers(value)]
    if isinstance(found, list):
        return [n for value in found for n in numbers(value)]
    return [found] if isinstance(found, float) else []


def test_every_number_is_finite_and_lies_in_its_range(result):
    assert len(numbers(result)) > 200
    assert all(map(math.isfinite, numbers(result)))
    for row in result["rows"]:
        for score in row["lds"].values():
            assert -1 <= score["lds"] <= 1
            assert score["low"] <= score["lds"] <= score["high"]
        assert 0 < row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
        for kind in ("ggn", "hessian"):
            assert -1 <= row["oracle"][kind]["pearson"]["estimate"] <= 1


def test_methods_that_are_an_oracle_reach_it(result):
    rows = {row["method"]: row["oracle"] for row in result["rows"]}
    assert rows["if_ggn"]["ggn"]["relative_error"]["high"] < 1e-3
    assert rows["if_hessian"]["hessian"]["pearson"]["low"] > 0.999
    for name in ("dattri_grad_dot", "captum_grad_dot"):
        assert rows[name]["ggn"]["pearson"] == pytest.approx(rows["grad_dot"]["ggn"]["pearson"])


def test_our_ekfac_is_at_least_as_near_to_the_exact_matrix_as_the_best_library(result):
    lead = result["lead"]["EK-FAC"]
    assert lead["best"] in {n for n in PACKAGES if n.endswith("ekfac")}
    assert lead["low"] > -lead["margin"]


def test_the_benchmark_and_the_notebook_know_the_same_format(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import anchors

    assert anchors.FORMAT == libraries.FORMAT
    assert anchors.RESULT.name == libraries.RESULT.name
