"""Unrolled differentiation against finite differences of the engine, closed forms and itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import digits_like, table_like, unrolled_responses

from dtda_lib.attribution import batch_loss
from dtda_lib.attribution.metagradient import metagradient, metagradient_shifts
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import get_measure, query_loss
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.runs.training import epoch_order, order_generator, train

THETA, LOSS = get_measure("parameters"), get_measure("query_loss")
MLP = get_model("mlp", widths=(8, 3, 1), activation="tanh")
TABLE = table_like(n_train=8)
COMMON = {"weight_decay": 0.02, "batch_size": 3, "epochs": 3, "keep_last": 2}  # batches 3, 3, 2
RECIPES = {
    "sgd": Recipe("sgd", lr=0.1, schedule="cosine", **COMMON),
    "momentum": Recipe("sgd", lr=0.05, momentum=0.9, schedule="linear", **COMMON),
    "adam": Recipe("adam", lr=0.02, schedule="cosine", **COMMON),
    "adamw": Recipe("adamw", lr=0.02, schedule="cosine", **COMMON | {"weight_decay": 2.0}),
}
with_and_without = pytest.mark.parametrize(
    "replacement", [True, pytest.param(False, marks=pytest.mark.slow)]
)
each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def classes():
    """Three classes that overlap, five inputs."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (11,), generator=generator)
    return Task("classes", x[:7], y[:7], x[7:], y[7:], loss="cross_entropy", n_outputs=3)


def differences(task, model, recipe, measure, seeds=(3, 4), points=None, at=None, eps=1e-5):
    """`-d measure / d w_k` by central differences of real trainings: (checkpoint, train, ...)."""
    points = range(task.n_train) if points is None else points
    at = torch.ones(task.n_train, dtype=torch.float64) if at is None else at
    moved = eps * torch.eye(task.n_train, dtype=torch.float64)[list(points)]
    weights = torch.cat([at + moved, at - moved])
    inits, orders = ([seed] * len(weights) for seed in seeds)
    values = train(task, model, recipe, inits, orders, weights, [measure])[measure.name]
    more, less = values.chunk(2)
    return ((less - more) / (2 * eps)).movedim(0, 1)


def assert_same_direction_and_size(found, expected, tolerance):
    """Each vector along the last axis, relative to its length."""
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < tolerance


# --- forward mode against the engine --------------------------------------------------------------


def test_shifts_of_the_parameters_are_the_responses():
    recipe, run = RECIPES["adamw"], (TABLE, MLP, RECIPES["adamw"])
    found = unrolled_shifts(*run, [(3, 4)], "parameters", [6, 1])
    assert found.sizes == {"seed": 1, "checkpoint": recipe.keep_last, "train": 2, "parameter": 31}
    expected = unrolled_responses(*run, 3, 4, [6, 1])["responses"]
    np.testing.assert_array_equal(found.values[0], expected)


@each_recipe
@with_and_without
def test_responses_equal_finite_differences_of_retraining(recipe, replacement):
    recipe = replace(recipe, replacement=replacement)
    found = unrolled_responses(TABLE, MLP, recipe, 3, 4)["responses"]
    expected = differences(TABLE, MLP, recipe, THETA)
    assert found.shape == expected.shape == (2, 8, 31)
    drawn = expected.norm(dim=-1).gt(0).all(dim=0)
    assert drawn.sum() >= 7
    assert_same_direction_and_size(found[:, drawn], expected[:, drawn], 1e-6)


@pytest.mark.slow
@each_recipe
def test_responses_at_other_weights_after_warm_epochs_with_classes(recipe):
    task, model = classes(), get_model("mlp", widths=(5, 3, 3), activation="gelu")
    at = torch.linspace(0.4, 1.6, task.n_train, dtype=torch.float64)
    recipe = replace(recipe, warm_epochs=2)
    points = [5, 0, 2]
    found = unrolled_responses(task, model, recipe, 3, 4, points, weights=at)["responses"]
    expected = differences(task, model, recipe, THETA, points=points, at=at)
    assert_same_direction_and_size(found, expected, 1e-6)
    at_ones = unrolled_responses(task, model, recipe, 3, 4, points)["responses"]
    assert not torch.allclose(found, at_ones, rtol=0.01)


@each_recipe
def test_the_trajectory_is_the_engines_to_the_last_bit(recipe):
    recipe = replace(recipe, replacement=True, warm_epochs=1)
    weights = torch.ones(1, TABLE.n_train)
    expected = train(TABLE, MLP, recipe, [3], [4], weights, [THETA], chunk=1)["parameters"][0]
    found = unrolled_responses(TABLE, MLP, recipe, 3, 4, [0])["parameters"]
    assert torch.equal(found, expected)


def test_a_parameter_that_first_moves_with_the_weight():
    """Adam where all gradients so far are exactly 0: inputs that only a weightless point has."""
    x = TABLE.train_x.clone()
    x[:, 0] = 0
    x[:, 1] = torch.eye(8, dtype=torch.float64)[2]
    task = replace(TABLE, train_x=x)
    at = torch.ones(8, dtype=torch.float64)
    at[2] = 0
    recipe = replace(RECIPES["adam"], weight_decay=0.0, eps=1.0)
    found = unrolled_responses(task, MLP, recipe, 3, 4, weights=at)["responses"]
    assert (found[..., :24:8] == 0).all()  # the weights of an input that is always 0
    assert (found[:, 2, 1:24:8] != 0).all()
    expected = differences(task, MLP, recipe, THETA, at=at, eps=1e-6)
    assert_same_direction_and_size(found, expected, 1e-6)


@pytest.mark.parametrize("name", ["momentum", pytest.param("adam", marks=pytest.mark.slow)])
def test_a_convolutional_network(name):
    task, points = digits_like(n_train=5, n_query=2), [3, 0, 4]
    recipe = replace(RECIPES[name], lr=0.003, batch_size=2, epochs=1, keep_last=1)  # three steps
    run = (task, get_model("cnn2l"), recipe)
    unrolled = unrolled_responses(*run, 3, 4, points)
    weights = torch.ones(1, 5)
    trained = train(*run, [3], [4], weights, [THETA])["parameters"][0]
    assert torch.equal(unrolled["parameters"], trained)
    found = unrolled["responses"]
    # Where a gradient is tiny, Adam's response is huge, and right for tiny changes only.
    expected = differences(*run, THETA, points=points, eps=1e-6 if name == "momentum" else 3e-8)
    assert_same_direction_and_size(found, expected, 1e-6)
    forward = unrolled_shifts(*run, [(3, 4)], points=points)
    reverse = metagradient_shifts(*run, [(3, 4)]).sel(train=points)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-15)


# --- as an estimator ------------------------------------------------------------------------------


@each_recipe
def test_shifts_equal_finite_differences_of_the_measure(recipe):
    found = unrolled_shifts(TABLE, MLP, recipe, [(3, 4)], points=[6, 1])
    assert found.dims == ("seed", "checkpoint", "train", "query")
    expected = differences(TABLE, MLP, recipe, LOSS, points=[6, 1])
    assert_same_direction_and_size(torch.from_numpy(found[0].values), expected, 1e-6)


@each_recipe
def test_how_many_runs_go_together_does_not_matter(recipe):
    seeds = [(3, 4), (5, 4), (3, 6)]
    alone = [unrolled_shifts(TABLE, MLP, recipe, [pair], points=[6, 1]) for pair in seeds]
    for chunk in (1, 2, None):
        found = unrolled_shifts(TABLE, MLP, recipe, seeds, points=[6, 1], chunk=chunk)
        np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-9, atol=1e-14)
    assert not np.allclose(alone[0], alone[1])
    assert not np.allclose(alone[0], alone[2])


def test_shifts_have_the_sign_scale_and_labels_of_real_removals():
    """A convex problem with many points: first order misses the leverage, 9 / 200 on average."""
    task, model = table_like(n_train=200, n_query=10), get_model("mlp", widths=(8, 1))
    recipe = Recipe("sgd", lr=0.05, weight_decay=0.02, batch_size=20, epochs=4, keep_last=2)
    points, seeds = [4, 0, 150], [(1, 2), (3, 4)]
    bank = RunBank(task, model, recipe, paired(leave_one_out(200, points), seeds), workers=1)
    real = shift_upon_removal(bank.dataset()["query_loss"])
    found = unrolled_shifts(task, model, recipe, seeds, points=points)
    pair = real.transpose(*found.dims)
    assert found.attrs["unit"] == bank.dataset()["query_loss"].attrs["unit"]
    for name in ("seed", "checkpoint", "train", "query", "query_id"):
        np.testing.assert_array_equal(found[name], pair[name])
    assert np.corrcoef(found.values.ravel(), pair.values.ravel())[0, 1] > 0.999
    slope = float((found * pair).sum() / (found**2).sum())
    assert 1.0 < slope < 1.09
    assert found.sizes == {"seed": 2, "checkpoint": 2, "train": 3, "query": 10}
    assert found["init_seed"].values.tolist() == [1, 3]
    assert found["train_id"].values.tolist() == points


def test_measures_with_other_axes_keep_them():
    prediction = get_measure("query_prediction")
    found = unrolled_shifts(TABLE, MLP, RECIPES["sgd"], [(3, 4)], prediction, points=[5])
    assert found.dims == ("seed", "checkpoint", "train", "query", "output")
    expected = differences(TABLE, MLP, RECIPES["sgd"], prediction, points=[5])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-9)


# --- closed forms and invariances -----------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, pytest.param(0.8, marks=pytest.mark.slow)])
def test_linear_regression_follows_the_recursion_to_the_influence_function(momentum):
    """Eq. 6 of 2506.12965 as printed, and Theorem 2 for full batches; N r_T -> H^-1 grad loss."""
    task, model = table_like(n_train=20), get_model("mlp", widths=(8, 1))
    n, lr, l2 = 20, 0.4, 0.05
    recipe = Recipe("sgd", lr=lr, weight_decay=l2, momentum=momentum, batch_size=n, epochs=250)
    recipe = replace(recipe, keep_last=recipe.epochs)
    unrolled = unrolled_responses(task, model, recipe, 3, 4)
    design = torch.cat([task.train_x, torch.ones(n, 1)], dim=1)  # the last column is the bias
    hessian = design.T @ design / n + l2 * torch.eye(9, dtype=torch.float64)
    r = heavy = torch.zeros(n, 9, dtype=torch.float64)
    start = train(task, model, recipe, [3], [4], torch.ones(1, n), [THETA])["parameters"][0]
    assert torch.equal(start, unrolled["parameters"])
    for step in range(3):
        theta = unrolled["parameters"][step - 1] if step else initial(model)
        gradients = design * (design @ theta - task.train_y)[:, None]  # (train, parameter)
        heavy = momentum * heavy + r @ hessian - gradients / n
        r = r - lr * heavy
        torch.testing.assert_close(unrolled["responses"][step], r, rtol=1e-10, atol=1e-13)
    theta = unrolled["parameters"][-1]
    gradients = design * (design @ theta - task.train_y)[:, None]
    influence = torch.linalg.solve(hessian, gradients.T).T
    torch.testing.assert_close(n * unrolled["responses"][-1], influence, rtol=1e-6, atol=1e-9)
    scores = get_estimator("influence_hessian", recipe)(Network.of(model), theta, task)[0]
    shifts = unrolled_shifts(task, model, replace(recipe, keep_last=1), [(3, 4)])[0, 0]
    np.testing.assert_allclose(shifts, scores, rtol=1e-6, atol=1e-9)


def initial(model):
    """The engine's initial parameters, seen through a training that does not move."""
    still = Recipe("sgd", lr=1e-300, batch_size=8, epochs=1)
    return train(TABLE, model, still, [3], [4], torch.ones(1, 8), [THETA])["parameters"][0, 0]


@each_recipe
def test_the_order_and_the_choice_of_points_do_not_matter(recipe):
    everything = unrolled_responses(TABLE, MLP, recipe, 3, 4)["responses"]
    chosen = unrolled_responses(TABLE, MLP, recipe, 3, 4, [7, 2, 5])["responses"]
    torch.testing.assert_close(chosen, everything[:, [7, 2, 5]], rtol=1e-10, atol=1e-14)


@each_recipe
def test_a_point_that_no_batch_holds_has_no_influence(recipe):
    recipe = replace(recipe, epochs=1, keep_last=1, replacement=True)
    drawn = epoch_order(order_generator(4), TABLE.n_train, recipe).unique()
    absent = [k for k in range(TABLE.n_train) if k not in drawn]
    assert 0 < len(absent) < TABLE.n_train
    responses = unrolled_responses(TABLE, MLP, recipe, 3, 4)["responses"][0]
    slopes = metagradient(TABLE, MLP, recipe, 3, 4, lambda theta: theta.square().sum())
    assert (responses[absent] == 0).all()
    assert (slopes[absent] == 0).all()
    assert (responses[drawn] != 0).any(dim=1).all()
    assert (slopes[drawn] != 0).all()


@pytest.mark.slow
def test_making_the_hessian_and_pieces_of_products_change_nothing(monkeypatch):
    """Twenty rows for nine parameters make the Hessian, five do not."""
    task, model = table_like(n_train=20), get_model("mlp", widths=(8, 1))
    run = (task, model, RECIPES["adam"], 3, 4)
    many = unrolled_responses(*run)["responses"]
    few = unrolled_responses(*run, [3, 1, 0, 9, 19])["responses"]
    torch.testing.assert_close(few, many[:, [3, 1, 0, 9, 19]], rtol=1e-10, atol=1e-14)
    monkeypatch.setattr(batch_loss, "PRODUCT_EXAMPLES", 7)  # two rows of three examples at a time
    pieces = unrolled_responses(*run, [3, 1, 0, 9, 19])["responses"]
    torch.testing.assert_close(pieces, few, rtol=1e-10, atol=1e-14)
    slopes = metagradient(*run)  # five queries
    torch.testing.assert_close(slopes, -shifts_of(run), rtol=1e-9, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [[(3, 4)], [(3, 4), (5, 6)]])
def test_recording_changes_no_bit(monkeypatch, seeds):
    run = (TABLE, MLP, RECIPES["adam"], seeds)
    forward, reverse = unrolled_shifts(*run), metagradient_shifts(*run)
    monkeypatch.setattr(batch_loss, "RECORD_AFTER", 1)
    assert unrolled_shifts(*run).equals(forward)
    assert metagradient_shifts(*run).equals(reverse)


def shifts_of(run):
    """Forward shifts of all points at the last checkpoint, `(query, train)`."""
    *setting, init_seed, order_seed = run
    shifts = unrolled_shifts(*setting, [(init_seed, order_seed)])
    return torch.from_numpy(shifts[0, -1].values.T.copy())


# --- reverse mode ---------------------------------------------------------------------------------


@each_recipe
@with_and_without
def test_reverse_equals_forward(recipe, replacement):
    recipe = replace(recipe, replacement=replacement, warm_epochs=1)
    seeds = [(3, 4), (5, 6)]
    forward = unrolled_shifts(TABLE, MLP, recipe, seeds).isel(checkpoint=[-1])
    reverse = metagradient_shifts(TABLE, MLP, recipe, seeds)
    assert reverse.dims == forward.dims
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-14)
    assert reverse.coords.identical(forward.coords)


@each_recipe
def test_recomputing_the_trajectory_changes_nothing(recipe):
    run = (TABLE, MLP, recipe, 3, 4)
    stored = metagradient(*run)
    for every in (1, 4, 100):  # of nine steps
        assert torch.equal(stored, metagradient(*run, every=every))


def test_a_long_trajectory_is_recomputed(monkeypatch):
    from dtda_lib.attribution import metagradient as module

    whole = metagradient(TABLE, MLP, RECIPES["adam"], 3, 4)
    monkeypatch.setattr(module, "TRAJECTORY_BYTES", 100)
    assert module._spacing(three_vectors(), 9) == 3
    assert torch.equal(metagradient(TABLE, MLP, RECIPES["adam"], 3, 4), whole)


def three_vectors():
    from dtda_lib.attribution.trajectory import State

    return State.fresh(RECIPES["adam"], torch.zeros(1, 31))


@each_recipe
def test_the_metagradient_of_a_function_equals_finite_differences(recipe):
    at = torch.linspace(0.4, 1.6, TABLE.n_train, dtype=torch.float64)
    network = Network.of(MLP)

    def worst(theta):
        return query_loss(network, theta, TABLE).logsumexp(dim=0) + theta.square().sum()

    found = metagradient(TABLE, MLP, recipe, 3, 4, worst, weights=at)
    assert found.shape == (TABLE.n_train,)
    scalar = replace(
        LOSS, name="worst", dims=(), function=lambda network, theta, task: worst(theta)
    )
    expected = -differences(TABLE, MLP, recipe, scalar, at=at)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"points": [8]}, "no training point 8; positions are 0 to 7"),
        ({"points": [-1]}, "no training point -1"),
        ({"points": [2, 2]}, "each once"),
        ({"points": []}, "at least one"),
        ({"weights": torch.ones(7)}, "give 8 finite numbers"),
        ({"weights": -torch.ones(8)}, "none negative"),
        ({"weights": torch.full((8,), torch.nan)}, "finite"),
        ({"seeds": []}, "at least one pair"),
        ({"of": "query_los"}, "did you mean 'query_loss'"),
        ({"of": get_estimator("gradient_similarity", RECIPES["sgd"])}, "axis 'train' itself"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(settings, sentence):
    settings = {"seeds": [(3, 4)], **settings}
    with pytest.raises(ValueError, match=sentence):
        unrolled_shifts(TABLE, MLP, RECIPES["sgd"], **settings)
    if "points" not in settings:
        with pytest.raises(ValueError, match=sentence):
            metagradient_shifts(TABLE, MLP, RECIPES["sgd"], **settings)


def test_reverse_refuses_an_impossible_spacing():
    with pytest.raises(ValueError, match="every is 0"):
        metagradient(TABLE, MLP, RECIPES["sgd"], 3, 4, every=0)


@pytest.mark.parametrize(("lr", "what"), [(1e200, "training is"), (1e5, "its derivative is")])
def test_divergence_is_named(lr, what):
    recipe = replace(RECIPES["sgd"], lr=lr, epochs=30, batch_size=8, weight_decay=1.0)
    with pytest.raises(FloatingPointError, match=f"{what}.*init seed 3 and order seed 4"):
        unrolled_responses(TABLE, MLP, recipe, 3, 4)
    if what == "training is":
        with pytest.raises(FloatingPointError, match="init seed 3 and order seed 4"):
            metagradient(TABLE, MLP, recipe, 3, 4)
