"""The trainer against a plain PyTorch loop, and what must not change its results."""

from dataclasses import replace

import pytest
import torch
from helpers import digits_like, plain_loop, table_like

from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.measures import get_measure, measure
from dtda_lib.runs.recipes import RECIPES, Recipe, get_recipe, new_optimiser, objective_l2
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.training import epoch_order, order_generator, train

LOSS, THETA = get_measure("query_loss"), get_measure("parameters")
ADAM = Recipe("adam", lr=3e-3, weight_decay=5e-3, batch_size=4, epochs=3, keep_last=2)
ADAMW = replace(ADAM, optimiser="adamw", weight_decay=2.0, schedule="cosine")
SGD = Recipe("sgd", lr=3e-2, weight_decay=1e-2, momentum=0.9, batch_size=4, epochs=3, keep_last=2)
MLP8 = get_model("mlp", widths=(8, 16, 16, 1))
MLP784 = get_model("mlp", widths=(784, 8, 10), activation="gelu")


def run(task, model, recipe, seeds=(3, 4), rows=(0, 2), **settings):
    """Loss `(run, checkpoint, query)` of full data and of removals, each with its own seed."""
    weights = leave_one_out(task.n_train).weights.to(task.train_x.dtype)[list(rows)]
    return train(task, model, recipe, seeds, [s + 10 for s in seeds], weights, [LOSS], **settings)[
        "query_loss"
    ]


@pytest.mark.parametrize(
    "recipe", [ADAM, ADAMW, SGD, replace(SGD, momentum=0.0, schedule="cosine")]
)
@pytest.mark.parametrize(
    ("task", "model"),
    [
        (table_like(), MLP8),
        (digits_like(), MLP784),
        (digits_like(), get_model("cnn2l")),
    ],
    ids=["mlp-regression", "mlp-digits", "cnn2l"],
)
@pytest.mark.parametrize("chunk", [1, 2])
def test_one_run_equals_a_plain_pytorch_loop(task, model, recipe, chunk):
    ours = run(task, model, recipe, chunk=chunk)
    weights = leave_one_out(task.n_train).weights.double()
    for row, (seed, removal) in enumerate([(3, 0), (4, 2)]):
        nets = plain_loop(task, model, recipe, seed, seed + 10, weights[removal])
        for checkpoint, net in enumerate(nets):
            expected = task.per_example_loss(net(task.query_x), task.query_y)
            torch.testing.assert_close(ours[row, checkpoint], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_update_is_that_of_torch_step_by_step(name):
    """On a stack of runs; the decay is strong, or coupled and decoupled would look alike."""
    recipe = Recipe(name, lr=0.03, weight_decay=2.0, momentum=0.0, betas=(0.8, 0.9))
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    theta = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = theta.clone().requires_grad_()
    given = {} if name == "sgd" else {"betas": recipe.betas, "eps": recipe.eps}
    theirs = kinds[name]([expected], lr=recipe.lr, weight_decay=recipe.weight_decay, **given)
    ours = new_optimiser(recipe, theta)
    for step in range(6):
        gradient = torch.sin(theta + step)
        expected.grad = gradient.clone()
        theirs.step()
        ours(theta, gradient, step / 6)
        torch.testing.assert_close(theta, expected.detach(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("task", [table_like(n_train=40), digits_like()])
@pytest.mark.slow
def test_results_do_not_depend_on_the_chunk(task):
    model = MLP8 if task.loss == "squared_error" else MLP784
    seeds, rows = (1, 1, 2, 2, 3), (0, 4, 0, 4, 1)
    alone = run(task, model, ADAM, seeds, rows, chunk=1)
    for chunk in (2, 3, 5):
        together = run(task, model, ADAM, seeds, rows, chunk=chunk)
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recipe", [ADAM, SGD])
def test_a_removed_point_influences_nothing(recipe):
    task = table_like()
    before = run(task, MLP8, recipe, seeds=(5, 5), rows=(0, 3))
    changed = replace(
        task,
        train_x=task.train_x.index_fill(0, torch.tensor([2]), 7.0),
        train_y=task.train_y.index_fill(0, torch.tensor([2]), -50.0),
    )
    after = run(changed, MLP8, recipe, seeds=(5, 5), rows=(0, 3))  # row 3 leaves out point 2
    assert torch.equal(before[1], after[1])
    assert not torch.allclose(before[0], after[0]), "with the point, its label must matter"


def test_removal_by_weight_is_deletion_up_to_the_batch_size_in_full_batch_training():
    """Weight 0 keeps 1/N: with lr scaled by N/(N-1) it equals training on the N-1 other points."""
    task, keep = table_like(), [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    n = task.n_train
    full = Recipe("sgd", lr=0.05, batch_size=n, epochs=7)
    deleted = replace(task, train_x=task.train_x[keep], train_y=task.train_y[keep], train_id=())
    scaled = replace(full, lr=full.lr * (n - 1) / n, batch_size=n - 1)
    by_weight = run(task, MLP8, full, seeds=(5,), rows=(3,))
    by_deletion = run(deleted, MLP8, scaled, seeds=(5,), rows=(0,))
    torch.testing.assert_close(by_weight, by_deletion, rtol=1e-10, atol=1e-12)


def test_leaving_out_twice_is_leaving_out_once():
    task = table_like()
    weights = leave_one_out(task.n_train).weights.double()
    once = train(task, MLP8, ADAM, [1], [1], weights[3:4], [LOSS])
    twice = train(task, MLP8, ADAM, [1], [1], weights[3:4] * weights[3:4], [LOSS])
    assert torch.equal(once["query_loss"], twice["query_loss"])


def test_initialisation_and_order_have_separate_seeds():
    task = table_like()
    weights = torch.ones(1, task.n_train, dtype=torch.float64)

    def loss(init, order, recipe=ADAM):
        return train(task, MLP8, recipe, [init], [order], weights, [LOSS])["query_loss"]

    assert torch.equal(loss(1, 1), loss(1, 1))
    assert not torch.equal(loss(1, 1), loss(1, 2))
    assert not torch.equal(loss(1, 1), loss(2, 1))
    # One full batch per epoch has no order to randomise (MNIST3-10pc as published).
    full = replace(ADAM, batch_size=task.n_train)
    torch.testing.assert_close(loss(1, 1, full), loss(1, 2, full), rtol=1e-10, atol=1e-12)


def test_no_two_streams_of_any_seeds_are_one():
    """Neither those of two seeds or parts, nor the one that initialises (`torch.manual_seed`)."""
    orders = {
        (seed, part): tuple(torch.randperm(30, generator=order_generator(seed, part)).tolist())
        for seed in range(40)
        for part in range(3)
    }
    initial = [torch.Generator().manual_seed(seed) for seed in range(200)]
    drawn = {tuple(torch.randperm(30, generator=generator).tolist()) for generator in initial}
    assert len(drawn | set(orders.values())) == 200 + 40 * 3
    again = torch.randperm(30, generator=order_generator(7, 1))
    assert tuple(again.tolist()) == orders[7, 1]
    # As random by another rule, but then every run of the study would be another.
    for part, order in enumerate([[3, 1, 7, 5, 0, 2, 6, 4], [0, 5, 4, 6, 3, 2, 7, 1]]):
        assert torch.randperm(8, generator=order_generator(3, part)).tolist() == order


def test_epochs_visit_each_point_once_unless_drawn_with_replacement():
    generator = order_generator(0)
    assert sorted(epoch_order(generator, 50, ADAM).tolist()) == list(range(50))
    drawn = epoch_order(generator, 50, replace(ADAM, replacement=True)).tolist()
    assert len(drawn) == 50
    assert len(set(drawn)) < 50


def test_with_replacement_equals_the_plain_loop_too():
    task, recipe = table_like(), replace(ADAM, replacement=True, keep_last=1)
    [net] = plain_loop(task, MLP8, recipe, 3, 13, torch.ones(task.n_train))
    expected = task.per_example_loss(net(task.query_x), task.query_y)
    ours = run(task, MLP8, recipe, seeds=(3,), rows=(0,))[0, 0]
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_kept_checkpoints_are_the_last_epochs():
    task = table_like()
    long = run(task, MLP8, replace(SGD, epochs=4, keep_last=4), seeds=(1,), rows=(0,))
    for epochs in (1, 2, 3):
        short = run(task, MLP8, replace(SGD, epochs=epochs, keep_last=1), seeds=(1,), rows=(0,))
        torch.testing.assert_close(short[:, 0], long[:, epochs - 1], rtol=1e-12, atol=0)
    assert replace(ADAM, epochs=15, keep_last=5).checkpoints == (10, 11, 12, 13, 14)


def test_warm_epochs_train_on_all_points_then_restart_the_optimiser():
    """`continued`: the warm phase is the ordinary full-data run, whatever is left out later."""
    task = table_like()
    warm = replace(ADAM, warm_epochs=3, keep_last=1)
    weights = leave_one_out(task.n_train).weights.double()
    theta = train(task, MLP8, replace(ADAM, keep_last=1), [3], [13], weights[:1], [THETA])
    [net] = plain_loop(task, MLP8, replace(ADAM, keep_last=1), 3, 13, weights[0])
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    torch.testing.assert_close(theta["parameters"][0, 0], flat, rtol=1e-9, atol=1e-10)
    # Continue from that model with fresh Adam and the second order stream, by hand.
    optimiser = torch.optim.Adam(net.parameters(), lr=ADAM.lr, weight_decay=ADAM.weight_decay)
    generator = order_generator(13, part=1)
    for _ in range(ADAM.epochs):
        for batch in epoch_order(generator, task.n_train, ADAM).split(ADAM.batch_size):
            optimiser.zero_grad()
            losses = 0.5 * (net(task.train_x[batch])[:, 0] - task.train_y[batch]) ** 2
            ((weights[2][batch] * losses).sum() / len(batch)).backward()
            optimiser.step()
    ours = run(task, MLP8, warm, seeds=(3,), rows=(2,))[0, 0]
    expected = task.per_example_loss(net(task.query_x), task.query_y)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_measures_of_a_user_are_taken_at_each_checkpoint():
    @measure(dims=("query",), unit="none")
    def predicted_class(network, theta, task):
        return network(theta, task.query_x).argmax(dim=1).float()

    task = digits_like()
    weights = torch.ones(2, task.n_train, dtype=torch.float64)
    got = train(task, MLP784, ADAM, [1, 2], [1, 2], weights, [predicted_class, LOSS])
    assert got["predicted_class"].shape == got["query_loss"].shape == (2, 2, task.n_query)


def test_the_published_recipe_is_what_the_digest_says():
    recipe = get_recipe("published_adam")
    assert (recipe.optimiser, recipe.lr, recipe.weight_decay) == ("adam", 1e-3, 5e-3)
    assert (recipe.batch_size, recipe.epochs, recipe.checkpoints) == (32, 15, (10, 11, 12, 13, 14))
    assert [recipe.steps(n) for n in (30, 60, 150)] == [15, 30, 75]


class Refusals:
    """Bad input, and a word that its refusal must contain."""

    recipes = (
        ({"optimiser": "adm"}, "did you mean 'adam'"),
        ({"schedule": "step"}, "unknown schedule"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"keep_last": 16}, "keep_last"),
        ({"momentum": 1.0}, "momentum"),
    )


@pytest.mark.parametrize(("settings", "word"), Refusals.recipes)
def test_impossible_recipes_are_refused_by_name(settings, word):
    with pytest.raises(ValueError, match=word):
        replace(RECIPES["published_adam"], **settings)


def test_decoupled_decay_is_no_part_of_an_objective():
    assert [objective_l2(recipe) for recipe in (ADAM, ADAMW, SGD)] == [5e-3, 0.0, 1e-2]


def test_unknown_recipe_and_no_seeds_and_misfits_are_refused():
    task = table_like()
    with pytest.raises(ValueError, match="unknown recipe 'publishd_adam': did you mean"):
        get_recipe("publishd_adam")
    with pytest.raises(ValueError, match="zero seeds"):
        train(task, MLP8, ADAM, [], [], torch.ones(0, task.n_train), [LOSS])
    with pytest.raises(ValueError, match="do not fit"):
        train(task, MLP8, ADAM, [1], [1], torch.ones(1, 3), [LOSS])


def test_a_diverging_run_is_named():
    wild = Recipe("sgd", lr=1e4, batch_size=4, epochs=30)
    with pytest.raises(FloatingPointError, match="init seed 8 and order seed 18"):
        run(table_like(dtype=torch.float32), MLP8, wild, seeds=(8,), rows=(0,))


def test_a_model_that_branches_on_values_is_refused_when_stacked():
    class Branching(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else -super().forward(x)

    task: Task = table_like()
    with pytest.raises((ValueError, RuntimeError), match=r"branch|control flow|data-dependent"):
        run(task, lambda: Branching(8, 1), ADAM, chunk=2)
