"""EK-FAC against the dense Gauss-Newton matrix, curvlinops and where it is exact (float64)."""

from dataclasses import replace

import curvlinops
import pytest
import torch
from helpers import table_like
from test_influence import RECIPE, classes_like, gradients
from torch import nn
from torch.func import vmap

from dtda_lib.attribution import curvature, ekfac
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe


def small_cnn():
    """Two convolutions, the second with stride and padding and no bias, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.Tanh(),
        nn.Conv2d(3, 4, (2, 3), stride=(1, 2), padding=(1, 0), bias=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(20, 3),
    )


def images_like(n_train=7, n_query=4, channels=2, size=6):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n_train + n_query, channels, size, size, generator=generator).double()
    y = torch.arange(n_train + n_query) % 3
    return Task("images", x[:n_train], y[:n_train], x[n_train:], y[n_train:], "cross_entropy", 3)


CASES = {
    "squares": (table_like(n_train=9), get_model("mlp", widths=(8, 5, 1), activation="tanh")),
    "classes": (classes_like(), get_model("mlp", widths=(4, 5, 3), activation="tanh")),
    "convolutions": (images_like(), small_cnn),
}
each_case = pytest.mark.parametrize(("task", "model"), CASES.values(), ids=CASES)


def prepared(model, seed=0):
    return Network.of(model), initial_theta(model, seed, torch.float64)


def estimate(name, task, network, theta, **settings):
    return get_estimator(name, RECIPE, **settings)(network, theta, task)[0]


def dense_basis(network, basis):
    """Columns are the basis vectors in theta's own order: Kronecker products, put in place."""
    slots = {}
    for name, piece in zip(
        network.layout.names, torch.arange(network.layout.n_parameters).split(network.layout.sizes)
    ):
        slots[name] = piece
    columns, at = torch.zeros(2 * (network.layout.n_parameters,), dtype=torch.float64), 0
    for layer, of_inputs, of_outputs in zip(basis.layers, basis.inputs, basis.outputs):
        out = len(of_outputs)
        parts = [slots[f"{layer.name}.weight"].view(out, -1)]
        if layer.bias:
            parts.append(slots[f"{layer.name}.bias"].view(out, 1))
        rows = torch.cat(parts, dim=1).flatten()  # where entry (out, in + 1) lies in theta
        columns[rows, at : at + len(rows)] = torch.kron(of_outputs, of_inputs)
        at += len(rows)
    return columns


def factored(task, model, seed=0):
    network, theta = prepared(model, seed)
    basis = ekfac.kronecker_basis(network, (theta,), task)
    values = ekfac.corrected_eigenvalues(network, (theta,), task, basis)
    return network, theta, basis, values, dense_basis(network, basis)


@each_case
def test_eigenvalues_are_the_diagonal_of_the_dense_matrix_in_an_orthonormal_basis(task, model):
    network, theta, _, values, vectors = factored(task, model)
    unit = torch.eye(len(theta), dtype=torch.float64)
    torch.testing.assert_close(vectors.T @ vectors, unit, rtol=0, atol=1e-12)
    dense = curvature.dense_gauss_newton(network, theta, task)
    diagonal = (vectors.T @ dense @ vectors).diagonal()
    torch.testing.assert_close(values, diagonal, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(values.sum(), dense.trace())


def test_several_models_are_averaged():
    task, model = CASES["classes"]
    network, first, _, _, _ = factored(task, model)
    thetas = first, initial_theta(model, 1, torch.float64)
    basis = ekfac.kronecker_basis(network, thetas, task)
    vectors = dense_basis(network, basis)
    dense = sum(curvature.dense_gauss_newton(network, theta, task) for theta in thetas) / 2
    values = ekfac.corrected_eigenvalues(network, thetas, task, basis)
    torch.testing.assert_close(values, (vectors.T @ dense @ vectors).diagonal())


@each_case
def test_gradients_in_the_basis_are_gradients(task, model):
    network, theta, basis, _, vectors = factored(task, model)
    train, _ = gradients(network, theta, task)
    points = task.train_x, task.train_y, ekfac.loss_cotangents(task)
    turned = torch.cat(list(ekfac.gradients_in_basis(network, theta, basis, *points)))
    torch.testing.assert_close(turned, train @ vectors, rtol=1e-9, atol=1e-13)


@each_case
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_scores_equal_a_dense_solve(task, model, damping):
    network, theta, _, values, vectors = factored(task, model)
    scores = estimate("influence_ekfac", task, network, theta, damping=damping)
    matrix = vectors @ torch.diag(values + RECIPE.weight_decay + damping) @ vectors.T
    train, query = gradients(network, theta, task)
    expected = train @ torch.linalg.solve(matrix, query.T) / task.n_train
    torch.testing.assert_close(scores, expected, rtol=1e-8, atol=1e-13)


# --- an independent implementation ---------------------------------------------------------------


@each_case
def test_it_equals_curvlinops(task, model):
    """curvlinops on the module itself, with the exact curvature ("type-2") and joint bias."""
    network, theta, _, values, vectors = factored(task, model)
    module = network.module.double()
    with torch.no_grad():
        for name, value in network.layout.unflatten(theta).items():
            module.get_parameter(name).copy_(value)
    squares = task.loss == "squared_error"
    operator = curvlinops.EKFACLinearOperator(
        module,
        nn.MSELoss() if squares else nn.CrossEntropyLoss(),
        [p for p in module.parameters() if p.requires_grad],
        [(task.train_x, task.train_y[:, None] if squares else task.train_y)],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    ours = vectors @ torch.diag(values) @ vectors.T
    # Ours has convolutions in theta's order (row, column, channel), theirs in the module's.
    size = len(theta)
    order = torch.cat(
        [
            p.reshape(-1)
            for p in network.layout.unflatten(torch.arange(size, dtype=torch.float64)).values()
        ]
    ).long()
    theirs = (operator @ torch.eye(size, dtype=torch.float64)) / (2 if squares else 1)
    torch.testing.assert_close(ours[order][:, order], theirs, rtol=1e-7, atol=1e-10)


# --- where the Kronecker structure is exact ------------------------------------------------------


def head(task, n_train):
    return replace(
        task, train_x=task.train_x[:n_train], train_y=task.train_y[:n_train], train_id=()
    )


def test_it_is_exact_for_linear_regression():
    """One output: the curvature is the covariance of the inputs, whatever the points."""
    task, (network, theta) = CASES["squares"][0], prepared(get_model("mlp", widths=(8, 1)))
    approximate, exact = (
        estimate(name, task, network, theta) for name in ("influence_ekfac", "influence_ggn")
    )
    torch.testing.assert_close(approximate, exact, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("n_train", [1, 5])
def test_it_is_exact_for_one_linear_layer_and_one_example_only(n_train):
    task, (network, theta) = (
        head(CASES["classes"][0], n_train),
        prepared(get_model("mlp", widths=(4, 3))),
    )
    approximate, exact = (
        estimate(name, task, network, theta) for name in ("influence_ekfac", "influence_ggn")
    )
    same = torch.allclose(approximate, exact, rtol=1e-9, atol=1e-13)
    assert same == (n_train == 1)


@pytest.mark.parametrize("kind", ["dense", "one patch"])
def test_one_example_gives_the_exact_diagonal_blocks(kind):
    """Of one example without shared weights each layer's block is a Kronecker product."""
    if kind == "dense":
        task, model = head(CASES["classes"][0], 1), CASES["classes"][1]
    else:  # the kernels cover all of their inputs

        def model():
            return nn.Sequential(nn.Conv2d(2, 4, 6), nn.Tanh(), nn.Conv2d(4, 3, 1), nn.Flatten())

        task = head(images_like(), 1)
    network, theta, basis, values, vectors = factored(task, model)
    dense = curvature.dense_gauss_newton(network, theta, task)
    owner = torch.cat(
        [
            torch.full(
                (size,), [layer.name for layer in basis.layers].index(name.rpartition(".")[0])
            )
            for name, size in zip(network.layout.names, network.layout.sizes)
        ]
    )
    blocks = torch.where(owner[:, None] == owner[None, :], dense, 0.0)
    ours = vectors @ torch.diag(values) @ vectors.T
    torch.testing.assert_close(ours, blocks, rtol=1e-9, atol=1e-12)


def test_a_convolution_of_one_patch_is_a_linear_layer():
    task = images_like(size=3)
    convolution, start = prepared(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()))
    flat, _ = prepared(lambda: nn.Sequential(nn.Flatten(), nn.Linear(18, 3)))
    named = convolution.layout.unflatten(start)
    joined = torch.cat([named["0.weight"].flatten(), named["0.bias"]])
    one = estimate("influence_ekfac", task, convolution, start)
    other = estimate("influence_ekfac", task, flat, joined)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)


# --- invariances ---------------------------------------------------------------------------------


@each_case
def test_the_order_of_points_and_blocks_do_not_matter(monkeypatch, task, model):
    network, theta = prepared(model)
    whole = estimate("influence_ekfac", task, network, theta)
    order = torch.arange(task.n_train).roll(3)
    turned = replace(task, train_x=task.train_x[order], train_y=task.train_y[order])
    monkeypatch.setattr(ekfac, "BLOCK_BYTES", 2 * 8 * len(theta))
    monkeypatch.setattr(ekfac, "EXAMPLE_CHUNK", 3)
    monkeypatch.setattr(ekfac, "DENSE_CHUNK", 3)
    again = estimate("influence_ekfac", turned, network, theta)
    torch.testing.assert_close(again, whole[order], rtol=1e-8, atol=1e-12)


def test_scaling_the_loss_scales_the_curvature():
    """Half squared error in other target units: gradients and outputs scale, curvature does not."""
    task, (network, theta) = CASES["squares"][0], prepared(get_model("mlp", widths=(8, 1)))
    scaled = replace(task, train_y=3 * task.train_y, query_y=3 * task.query_y)
    one, nine = (
        estimate("influence_ekfac", t, network, p) for t, p in ((task, theta), (scaled, 3 * theta))
    )
    torch.testing.assert_close(nine, 9 * one, rtol=1e-9, atol=1e-13)


def test_rotated_inputs_do_not_matter():
    """The basis turns with the inputs of a layer, unlike a diagonal of the curvature."""
    task, model = CASES["classes"]
    network, theta = prepared(model)
    random = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    rotation = torch.linalg.qr(random)[0]
    turned = replace(task, train_x=task.train_x @ rotation, query_x=task.query_x @ rotation)
    named = network.layout.unflatten(theta)
    first = named["layers.1.weight"] @ rotation
    there = network.layout.flatten(named | {"layers.1.weight": first})
    one = estimate("influence_ekfac", task, network, theta)
    other = estimate("influence_ekfac", turned, network, there)
    torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-12)


def test_as_damping_grows_it_becomes_grad_dot():
    task, model = CASES["convolutions"]
    network, theta = prepared(model)
    scores = estimate("influence_ekfac", task, network, theta, damping=1e8)
    dot = get_estimator("gradient_similarity", RECIPE)(network, theta, task)[0]
    torch.testing.assert_close(scores * 1e8 * task.n_train, dot, rtol=1e-5, atol=1e-8)


def test_stacked_models_and_single_precision_give_the_same():
    """As banks call it: under vmap and no_grad, in float32."""
    task, model = CASES["classes"]
    network, _ = prepared(model)
    thetas = torch.stack([initial_theta(model, seed, torch.float64) for seed in range(3)])
    estimator = get_estimator("influence_ekfac", RECIPE)
    alone = torch.stack([estimator(network, theta, task) for theta in thetas])
    with torch.no_grad():
        stacked = vmap(lambda theta: estimator(network, theta, task))(thetas)
    torch.testing.assert_close(stacked, alone, rtol=1e-8, atol=1e-12)
    single = estimator(network, thetas[0].float(), task.to(dtype=torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), alone[0], rtol=1e-3, atol=1e-6)


def test_no_hook_stays_behind():
    task, model = CASES["convolutions"]
    network, theta = prepared(model)
    estimate("influence_ekfac", task, network, theta)
    assert all(not module._forward_hooks for module in network.module.modules())


# --- what it refuses -----------------------------------------------------------------------------


class Shared(nn.Module):
    """Uses one layer twice, or two layers with one weight, or has a layer that is never called."""

    def __init__(self, how):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.path = {
            "twice": (self.first, self.second, self.first),
            "tied": (self.first, self.second),
            "spare": (self.first,),
        }[how]
        if how == "tied":
            self.second.weight = self.first.weight

    def forward(self, x):
        for layer in self.path:
            x = torch.tanh(layer(x))
        return self.last(x)


REFUSED = {
    "'1.weight' belongs to a LayerNorm.*influence_ggn": lambda: nn.Sequential(
        nn.Linear(4, 3), nn.LayerNorm(3)
    ),
    "convolution '0' has groups": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)),
    "or a padding": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")),
    "share a parameter": lambda: Shared("tied"),
    "'first' is used twice": lambda: Shared("twice"),
    "'second' is never called": lambda: Shared("spare"),
}


@pytest.mark.parametrize(("said", "model"), REFUSED.items(), ids=REFUSED)
def test_other_layers_are_refused_in_one_sentence(said, model):
    network, theta = prepared(model)
    with pytest.raises(ValueError, match=said):
        estimate("influence_ekfac", classes_like(), network, theta)


def test_no_damping_at_all_is_refused():
    with pytest.raises(ValueError, match="add damping"):
        get_estimator("influence_ekfac", Recipe("sgd"))
    with pytest.raises(ValueError, match="must be positive"):
        get_estimator("influence_ekfac", RECIPE, damping=-1.0)
