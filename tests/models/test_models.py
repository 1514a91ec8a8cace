"""The networks: published sizes, the flat vector, explicit initialisation."""

import pytest
import torch
from torch import nn

from dtda_lib.models.networks import Layout, Network, get_model, initial_theta


def test_cnn2l_has_the_published_number_of_parameters():
    network = Network.of(get_model("cnn2l"))
    assert network.layout.n_parameters == 225_034
    assert network.module.fc1.weight.shape == (128, 1600)
    assert network.convolutional


def test_an_mlp_is_configurable():
    layout = Network.of(get_model("mlp", widths=(8, 16, 16, 1))).layout
    assert layout.n_parameters == 8 * 16 + 16 + 16 * 16 + 16 + 16 + 1


@pytest.mark.parametrize("name", ["cnn2l", "mlp"])
def test_theta_is_pytorchs_own_initialisation(name):
    model = get_model(name)
    theta = initial_theta(model, 446)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(446)
        module = model()
    layout = Layout.of(module)
    for key, value in layout.unflatten(theta).items():
        assert torch.equal(value, module.get_parameter(key))
    assert torch.equal(layout.flatten(layout.unflatten(theta)), theta)


def test_the_network_is_the_module_as_a_function_of_theta():
    model = get_model("cnn2l")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = model().double()
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = Network.of(model)(initial_theta(model, 1, torch.float64), x)
    torch.testing.assert_close(ours, module(x), rtol=1e-12, atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="unknown model 'cnn2': did you mean 'cnn2l'"):
        get_model("cnn2")
    with pytest.raises(ValueError, match="unknown activation"):
        get_model("mlp", activation="swish")()
    with pytest.raises(ValueError, match="widths"):
        get_model("mlp", widths=(8,))()
    with pytest.raises(ValueError, match="buffers"):
        Network.of(lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match="no trainable parameter"):
        Network.of(nn.ReLU)
    with pytest.raises(ValueError, match=r"must return a torch\.nn\.Module"):
        Network.of(lambda: 3)
