"""The other published networks: their sizes, their arithmetic, and that they run under torch.func.

No network is trained for more than a few steps.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import plain_loop
from torch import nn
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.fingerprint import model_identity
from dtda_lib.runs.measures import get_measure
from dtda_lib.runs.recipes import Recipe, get_recipe
from dtda_lib.runs.training import train

# name: parameters, input of one image, paddings of the convolutions
PUBLISHED = {
    "cnn2l_rgb": (259_914, (3, 32, 32), (0, 0)),
    "cnn3l": (619_786, (1, 28, 28), (0, 2, 2)),
    "cnn3l_rgb": (620_362, (3, 32, 32), (0, 0, 2)),
}
KERNELS = {"cnn2l_rgb": (5, 5), "cnn3l": (3, 3, 3), "cnn3l_rgb": (3, 3, 3)}
each_network = pytest.mark.parametrize("name", PUBLISHED)


def images(name, n=2):
    """Random images `(n, channel, row, column)` in [-1, 1], float64."""
    generator = torch.Generator().manual_seed(0)
    shape = (n, *PUBLISHED[name][1])
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


def restated(parameters, x, paddings):
    """The published forward pass, written once more with functions only."""
    for number, padding in enumerate(paddings, start=1):
        weight, bias = parameters[f"conv{number}.weight"], parameters[f"conv{number}.bias"]
        x = F.conv2d(x, weight, bias, stride=1, padding=padding)
        x = 0.5 * x * (1 + torch.erf(x / 2**0.5))  # GELU, exact
        rows, columns = (side - side % 2 for side in x.shape[-2:])
        x = x[..., :rows, :columns].unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-3, -1))
    x = x.reshape(len(x), -1) @ parameters["fc1.weight"].T + parameters["fc1.bias"]
    x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    return x @ parameters["fc2.weight"].T + parameters["fc2.bias"]


@each_network
def test_networks_have_the_published_number_of_parameters(name):
    network = Network.of(get_model(name))
    assert network.layout.n_parameters == PUBLISHED[name][0]
    assert network.convolutional
    kernels = tuple(m.kernel_size[0] for m in network.module.modules() if isinstance(m, nn.Conv2d))
    assert kernels == KERNELS[name]


@each_network
def test_the_forward_pass_is_the_published_one(name):
    model = get_model(name)
    network, theta = Network.of(model), initial_theta(model, 446, torch.float64)
    x = images(name, n=3)
    output = network(theta, x)
    assert output.shape == (3, 10)
    expected = restated(network.layout.unflatten(theta), x, PUBLISHED[name][2])
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-12)


@each_network
def test_the_seed_draws_the_weights_of_the_published_layers(name):
    layers = {
        "cnn2l_rgb": lambda: [
            nn.Conv2d(3, 32, 5),
            nn.Conv2d(32, 64, 5),
            nn.Linear(1600, 128),
            nn.Linear(128, 10),
        ],
        "cnn3l": lambda: [
            nn.Conv2d(1, 32, 3),
            nn.Conv2d(32, 64, 3),
            nn.Conv2d(64, 128, 3),
            nn.Linear(2048, 256),
            nn.Linear(256, 10),
        ],
        "cnn3l_rgb": lambda: [
            nn.Conv2d(3, 32, 3),
            nn.Conv2d(32, 64, 3),
            nn.Conv2d(64, 128, 3),
            nn.Linear(2048, 256),
            nn.Linear(256, 10),
        ],
    }[name]
    model = get_model(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(724)
        expected = [p for layer in layers() for p in layer.parameters()]
    drawn = Network.of(model).layout.unflatten(initial_theta(model, 724))
    assert all(torch.equal(a, b) for a, b in zip(drawn.values(), expected, strict=True))


@each_network
def test_gradients_of_examples_under_vmap_are_those_one_by_one(name):
    model = get_model(name)
    network, theta = Network.of(model), initial_theta(model, 1, torch.float64)
    x, y = images(name), torch.tensor([3, 7])

    def loss(theta, x, y):
        return F.cross_entropy(network(theta, x[None]), y[None])

    together = vmap(grad(loss), in_dims=(None, 0, 0))(theta, x, y)  # (example, parameter)
    for row in range(len(x)):
        leaf = theta.clone().requires_grad_()
        loss(leaf, x[row], y[row]).backward()
        torch.testing.assert_close(together[row], leaf.grad, rtol=1e-9, atol=1e-12)


@each_network
def test_the_engine_trains_them_like_a_plain_loop(name):
    x = images(name, n=6)
    task = Task("tiny", x[:4], torch.arange(4), x[4:], torch.tensor([0, 1]), "cross_entropy", 10)
    recipe = Recipe("adam", lr=1e-3, weight_decay=5e-3, batch_size=4, epochs=2)
    model, weight = get_model(name), torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    loss = get_measure("query_loss")
    ours = train(task, model, recipe, [3], [13], weight[None], [loss])[loss.name]
    (net,) = plain_loop(task, model, recipe, 3, 13, weight)
    expected = task.per_example_loss(net(task.query_x), task.query_y)
    torch.testing.assert_close(ours[0, 0], expected, rtol=1e-9, atol=1e-10)


def test_networks_are_told_apart_in_the_cache():
    known = [model_identity(get_model(name)) for name in ("cnn2l", *PUBLISHED)]
    assert len({str(identity) for identity in known}) == 4


def test_the_published_cifar_recipe_is_a_longer_one():
    recipe = replace(get_recipe("published_adam"), epochs=30)
    assert recipe.checkpoints == (25, 26, 27, 28, 29)
    assert [recipe.steps(n) for n in range(100, 700, 100)] == [120, 210, 300, 390, 480, 570]
