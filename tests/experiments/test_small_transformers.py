"""Small transformers: torchvision's own functions, stackable, and their identity and refusals."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, jvp, vmap

from dtda_lib.data.sources import import_torchvision
from dtda_lib.experiments.data_pruning.small_transformers import (
    PatchEmbedding,
    small_swin,
    small_vit,
)
from dtda_lib.models.networks import Network, initial_theta
from dtda_lib.models.vision_transformer import VitConfig, bare_transformer
from dtda_lib.runs.fingerprint import model_identity

TINY = VitConfig(28, 14, layers=2, heads=2, width=8, mlp_width=12)
SWIN = {"patch_size": 4, "window_size": 4, "width": 8, "depths": (2, 2), "heads": (2, 4)}
CASES = {
    "vit": (small_vit(TINY), (1, 28, 28)),
    "swin": (small_swin(**SWIN), (3, 32, 32)),
}
each_model = pytest.mark.parametrize("name", CASES)


def build(factory, *arguments, **settings):
    """What the factory makes of a seeded global stream, which is then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory(*arguments, **settings).double()


def images(shape, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=generator, dtype=torch.float64)


def theta_of(model, seed=0):
    """Random weights that are large enough to matter, biases and zeros included."""
    start = initial_theta(model, seed, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return start + 0.3 * torch.randn(len(start), generator=generator, dtype=torch.float64)


def as_convolution(embedding):
    """The strided convolution that a `PatchEmbedding` replaces, with its weights."""
    linear, size = embedding.linear, embedding.size
    channels = linear.in_features // size**2
    conv = build(torch.nn.Conv2d, channels, linear.out_features, size, size)
    with torch.no_grad():
        conv.weight.copy_(linear.weight.unflatten(1, (channels, size, size)))
        conv.bias.copy_(linear.bias)
    return conv


def test_patch_embedding_is_a_strided_convolution():
    embedding = build(PatchEmbedding, 3, 4, 5)
    x = images((3, 12, 8))
    torch.testing.assert_close(embedding(x), as_convolution(embedding)(x), rtol=1e-12, atol=1e-12)


def test_vit_is_torchvisions():
    model, shape = CASES["vit"]
    ours = build(model)
    theirs = build(bare_transformer, TINY)
    theirs.conv_proj = as_convolution(ours.vit.conv_proj)
    weights = {n: w for n, w in ours.vit.state_dict().items() if not n.startswith("conv_proj.")}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith("conv_proj.") for name in missing)
    x = images(shape)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


def test_swin_is_torchvisions():
    import_torchvision()
    from torchvision.models.swin_transformer import SwinTransformer

    model, shape = CASES["swin"]
    ours = build(model)
    sizes = [4, 4], 8, [2, 2], [2, 4], [4, 4]
    theirs = build(
        SwinTransformer, *sizes, mlp_ratio=2.0, stochastic_depth_prob=0.0, num_classes=10
    )
    theirs.features[0][0] = as_convolution(ours.swin.features[0][0])
    missing, unexpected = theirs.load_state_dict(ours.swin.state_dict(), strict=False)
    assert {name.rpartition(".")[0] for name in [*missing, *unexpected]} <= {
        "features.0.0",
        "features.0.0.linear",
    }
    x = images(shape)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


@each_model
def test_runs_can_be_stacked_and_differentiated_forwards(name):
    model, shape = CASES[name]
    network = Network.of(model)
    thetas = torch.stack([theta_of(model, seed) for seed in (0, 1)])
    x, y = images(shape), torch.tensor([0, 1, 2])

    def loss(theta):
        return F.cross_entropy(network(theta, x), y)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing batching rule only warns, and is slow
        stacked = vmap(grad(loss))(thetas)
    alone = torch.stack([grad(loss)(theta) for theta in thetas])
    torch.testing.assert_close(stacked, alone, rtol=1e-8, atol=1e-12)
    direction = torch.ones_like(thetas[0])
    along = jvp(loss, (thetas[0],), (direction,))[1]
    torch.testing.assert_close(along, alone[0].sum(), rtol=1e-8, atol=1e-12)


@each_model
def test_seeds_differ_at_the_outputs_and_the_engine_may_stack(name):
    model, shape = CASES[name]
    network, x = Network.of(model), images(shape)
    first, second = (network(initial_theta(model, s, torch.float64), x) for s in (0, 1))
    assert (first - second).abs().max() > 1e-3
    assert not network.convolutional
    assert network.layout.n_parameters < 20_000


def test_sizes_are_part_of_the_identity():
    other = VitConfig(28, 14, layers=2, heads=4, width=8, mlp_width=12)
    assert model_identity(small_vit(TINY)) != model_identity(small_vit(other))
    assert model_identity(small_vit(TINY)) == model_identity(CASES["vit"][0])


def test_impossible_sizes_are_refused_before_training():
    with pytest.raises(ValueError, match="divide"):
        small_vit(VitConfig(28, 13, layers=1, heads=2, width=8, mlp_width=8))
