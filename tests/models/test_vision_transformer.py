"""ViT with LoRA: published sizes, exact algebra, torch.func, identity, pretraining, refusals."""

import copy
import functools
import math
import warnings

import cloudpickle
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import digits_like, plain_loop, table_like
from torch import nn
from torch.func import grad, jvp, vmap

from dtda_lib.data.crops import normalised
from dtda_lib.data.named import mnist3
from dtda_lib.experiments.sources_of_noise.pretraining import (
    Pretraining,
    digits_vit_lora,
    pretrain,
    pretrained_digits,
)
from dtda_lib.models import vision_transformer
from dtda_lib.models.lora import LoraAttention, add_lora
from dtda_lib.models.networks import Network, initial_theta
from dtda_lib.models.vision_transformer import (
    VIT_B_16,
    Base,
    LoraVit,
    VitConfig,
    bare_transformer,
    colour_scale,
    published_vit_lora,
    vit_lora,
)
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.fingerprint import model_identity
from dtda_lib.runs.keys.canonical import canonical
from dtda_lib.runs.measures import get_measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.training import train

TINY = VitConfig(28, 14, layers=2, heads=2, width=8, mlp_width=12)
TASK = digits_like(n_train=6, n_query=3)
RECIPE = Recipe("adam", lr=1e-2, weight_decay=5e-3, batch_size=3, epochs=2, schedule="linear")


def build(factory, *arguments, seed=0):
    """What the factory makes of a seeded global stream, which is then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(*arguments)


def random_transformer(config=TINY, seed=0):
    """Every weight random and large enough to matter, zeros and biases included."""
    vit = build(bare_transformer, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return vit


@pytest.fixture
def vit():
    return random_transformer()


@pytest.fixture
def base(vit):
    return Base.of(TINY, vit.state_dict())


@pytest.fixture
def model(base):
    return vit_lora(base, rank=3, alpha=6)


def moved(model, dtype=torch.float64, seed=1):
    """A theta where nothing is zero."""
    theta = initial_theta(model, 0, dtype)
    generator = torch.Generator().manual_seed(seed)
    return theta + 0.3 * torch.randn(len(theta), generator=generator, dtype=dtype)


# -------------------------------------------------------------- sizes


def test_vit_b_16_trains_the_published_number_of_parameters():
    with torch.device("meta"):
        weights = bare_transformer(VIT_B_16, 1000).state_dict()
    assert sum(w.numel() for w in weights.values()) == 86_567_656  # torchvision's own count
    headless = {name: w for name, w in weights.items() if not name.startswith("heads.")}
    base = Base(VIT_B_16, "none", headless)
    layout = Network.of(functools.partial(LoraVit, base, 16, 16, device="meta")).layout
    lora = [size for name, size in zip(layout.names, layout.sizes) if ".lora." in name]
    assert sum(lora) == 589_824
    assert layout.n_parameters == 589_824 + 7_690 == 597_514


@pytest.mark.parametrize(("rank", "targets"), [(1, ("query",)), (4, ("query", "value"))])
def test_rank_and_targets_set_the_capacity(base, rank, targets):
    model = vit_lora(base, rank, 1, targets=targets, classes=5)
    lora = 2 * TINY.layers * len(targets) * rank * TINY.width
    assert Network.of(model).layout.n_parameters == lora + TINY.width * 5 + 5


def test_only_lora_and_head_are_in_theta(model):
    names = Network.of(model).layout.names
    assert all(".lora." in name or name.startswith("vit.heads.") for name in names)
    theta = initial_theta(model, 3)
    assert torch.equal(theta, initial_theta(model, 3))
    parts = Network.of(model).layout.unflatten(theta)
    a = parts["vit.encoder.layers.encoder_layer_0.self_attention.lora.query.A"]
    assert (a.abs() <= 1 / math.sqrt(TINY.width)).all(), "Kaiming uniform with a = sqrt(5)"
    assert not parts["vit.encoder.layers.encoder_layer_0.self_attention.lora.query.B"].any()
    assert 0 < parts["vit.heads.0.weight"].abs().max() < 0.1
    differing = (theta != initial_theta(model, 4)).sum()
    assert differing == 2 * TINY.layers * 3 * TINY.width + 10 * TINY.width


# -------------------------------------------------------------- algebra


def plain_outputs(vit, head, x, config=TINY):
    """What torchvision computes, with the head of the LoRA model."""
    vit = copy.deepcopy(vit).to(x.dtype)
    vit.heads = copy.deepcopy(head).to(x.dtype)
    mean, std = (part.to(x) for part in colour_scale(config))
    return vit(normalised(x, config.image_size, mean, std))


def test_without_b_it_is_the_base(vit, model):
    module, x = build(model), TASK.query_x.float()
    torch.testing.assert_close(module(x), plain_outputs(vit, module.vit.heads, x))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("targets", [("query", "value"), ("value", "key")])
def test_lora_is_the_merged_weights(vit, base, mode, targets):
    model = vit_lora(base, rank=3, alpha=6, targets=targets)
    network, theta = Network.of(model), moved(model)
    parts = network.layout.unflatten(theta)
    merged = copy.deepcopy(vit).double()
    for number, block in enumerate(merged.encoder.layers):
        prefix = f"vit.encoder.layers.encoder_layer_{number}.self_attention.lora"
        for target in targets:
            start = ("query", "key", "value").index(target) * TINY.width
            rows = block.self_attention.in_proj_weight.data[start : start + TINY.width]
            rows += 6 / 3 * parts[f"{prefix}.{target}.B"] @ parts[f"{prefix}.{target}.A"]
    head = build(nn.Linear, TINY.width, 10)
    head.load_state_dict({n: parts[f"vit.heads.0.{n}"] for n in ("weight", "bias")}, assign=True)
    expected = plain_outputs(getattr(merged, mode)(), head, TASK.query_x)
    getattr(network.module, mode)()
    torch.testing.assert_close(network(theta, TASK.query_x), expected, rtol=1e-10, atol=1e-10)


def test_float64_and_other_sizes_are_followed(model):
    network, theta = Network.of(model), moved(model)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    double = network(theta, x)
    assert double.dtype == torch.float64
    single = network(theta.float(), x.float())
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-4)
    again = network(initial_theta(model, 5, torch.float64), x)
    torch.testing.assert_close(build(model, seed=5).double()(x), again, rtol=1e-12, atol=1e-12)


# -------------------------------------------------------------- torch.func


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_everything_differentiates(model, mode, dtype, tolerance):
    network, theta = Network.of(model), moved(model, dtype)
    getattr(network.module, mode)()
    x, y = TASK.train_x.to(dtype), TASK.train_y
    close = {"rtol": tolerance, "atol": tolerance}

    def loss(theta, x, y):
        return F.cross_entropy(network(theta, x), y)

    def one(theta, x, y):
        return loss(theta, x[None], y[None])

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop")
        gradient = grad(loss)(theta, x, y)
        each = vmap(grad(one), (None, 0, 0))(theta, x, y)
        for row, a, b in zip(each, x, y):
            torch.testing.assert_close(row, grad(one)(theta, a, b), **close)
        torch.testing.assert_close(each.mean(dim=0), gradient, **close)
        thetas = torch.stack([theta, moved(model, dtype, seed=2)])
        runs = vmap(grad(loss), (0, None, None))(thetas, x, y)
        torch.testing.assert_close(runs[1], grad(loss)(thetas[1], x, y), **close)
        with torch.no_grad():
            outputs = vmap(network, (0, None))(thetas, x)
        torch.testing.assert_close(outputs[1], network(thetas[1], x), **close)
        value, slope = jvp(lambda t: loss(t, x, y), (theta,), (gradient,))
        torch.testing.assert_close(value, loss(theta, x, y), **close)
        torch.testing.assert_close(slope, gradient @ gradient, **close)
        forward = jvp(lambda t: grad(loss)(t, x, y), (theta,), (gradient,))[1]
        reverse = grad(lambda t: grad(loss)(t, x, y) @ gradient)(theta)
        torch.testing.assert_close(forward, reverse, **close)


def test_gradients_agree_with_differences(model):
    network, theta = Network.of(model), moved(model)

    def loss(theta):
        return F.cross_entropy(network(theta, TASK.train_x), TASK.train_y)

    gradient = grad(loss)(theta)
    assert (gradient != 0).all(), "every entry of theta is trained"
    for entry in range(0, len(theta), 37):
        step = torch.zeros_like(theta)
        step[entry] = 1e-5
        slope = (loss(theta + step) - loss(theta - step)) / 2e-5
        torch.testing.assert_close(gradient[entry], slope, rtol=1e-5, atol=1e-8)


# -------------------------------------------------------------- training


@pytest.mark.slow
def test_training_is_the_plain_loops(model):
    """And stacked runs, which are recorded, are runs alone."""
    weights = torch.tensor([[1.0] * 6, [1.0, 0.0] + [1.0] * 4], dtype=torch.float64)
    measures = [get_measure("query_prediction")]
    alone = train(TASK, model, RECIPE, [5, 6], [7, 8], weights, measures)["query_prediction"]
    stacked = train(TASK, model, RECIPE, [5, 6], [7, 8], weights, measures, chunk=2)
    torch.testing.assert_close(stacked["query_prediction"], alone, rtol=1e-9, atol=1e-9)
    for run, (init_seed, order_seed) in enumerate([(5, 7), (6, 8)]):
        net = plain_loop(TASK, model, RECIPE, init_seed, order_seed, weights[run])[-1]
        torch.testing.assert_close(alone[run, -1], net(TASK.query_x).detach(), rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_two_workers_give_the_same_bits(model, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")
    runs = paired(leave_one_out(6, [0, 3]), seed_pairs(6))
    here, there = (
        RunBank(TASK, model, RECIPE, runs, workers=workers, chunk=4).dataset() for workers in (1, 2)
    )
    assert here.sizes["seed"] == 6
    assert here.identical(there)


# -------------------------------------------------------------- identity


def test_identity_follows_base_rank_and_settings(base, tmp_path):
    first = model_identity(vit_lora(base, 2, 4))
    assert first == model_identity(vit_lora(base, 2, 4))
    canonical(first)
    again = Base.of(TINY, random_transformer().state_dict())
    assert (again, again.digest) == (base, base.digest)
    other = Base.of(TINY, random_transformer(seed=1).state_dict())
    others = [
        vit_lora(other, 2, 4),
        vit_lora(base, 3, 4),
        vit_lora(base, 2, 5),
        vit_lora(base, 2, 4, targets=("query",)),
        vit_lora(base, 2, 4, classes=4),
    ]
    identities = [first, *map(model_identity, others)]
    assert len(set(map(canonical, identities))) == len(identities)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        torch.save(random_transformer().state_dict(), tmp_path / folder / "weights.pt")
    files = (tmp_path / folder / "weights.pt" for folder in ("a", "b"))
    a, b = (published_vit_lora(file, config=TINY, rank=2) for file in files)
    assert model_identity(a) == model_identity(b), "a path is no part of what is trained"


def test_a_factory_travels(model):
    packed = cloudpickle.dumps(model)
    assert len(packed) < 40_000, "the weights and little else"
    again = cloudpickle.loads(packed)
    assert model_identity(again) == model_identity(model)
    x = TASK.query_x.float()
    theta = moved(model, torch.float32)
    assert torch.equal(Network.of(again)(theta, x), Network.of(model)(theta, x))


def test_copies_of_the_base_do_not_share_changes(vit, base, model):
    before = model_identity(model), Network.of(model)(moved(model), TASK.query_x)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.zero_()
    build(model).double()
    assert model_identity(model) == before[0]
    assert torch.equal(Network.of(model)(moved(model), TASK.query_x), before[1])


# -------------------------------------------------------------- published weights


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_weights_is_loaded_as_torchvision_names_it(vit, base, tmp_path, legacy):
    """Published files call the layers of an MLP block linear_1 and linear_2."""
    path = tmp_path / "weights.pt"
    state = dict(vit.state_dict())
    if legacy:
        for new, old in (("mlp.0.", "mlp.linear_1."), ("mlp.3.", "mlp.linear_2.")):
            state = {name.replace(new, old): w for name, w in state.items()}
    torch.save(state, path)
    model = published_vit_lora(path, config=TINY, rank=3, alpha=6)
    theta, ours = moved(model), vit_lora(base, rank=3, alpha=6)
    assert torch.equal(
        Network.of(model)(theta, TASK.query_x), Network.of(ours)(theta, TASK.query_x)
    )


def test_published_weights_come_from_torch_hub(vit, tmp_path, monkeypatch):
    asked = []

    def download(url, path, hash_prefix):
        asked.append((url, hash_prefix))
        torch.save(vit.state_dict(), path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        network = Network.of(published_vit_lora(config=TINY, rank=2))
        assert network.layout.n_parameters == 2 * 2 * 2 * 2 * 8 + 90
    assert asked == [("https://download.pytorch.org/models/vit_b_16-c867db91.pth", "c867db91")]


# -------------------------------------------------------------- pretraining

QUICK = Pretraining(epochs=2, batch_size=8, lr=1e-2)
IMAGES = digits_like(n_train=20, n_query=6, dtype=torch.float32)


def test_pretraining_is_a_function_of_its_settings():
    base = pretrain(IMAGES, TINY, QUICK)
    assert base.digest == pretrain(IMAGES, TINY, QUICK).digest
    assert base.digest != pretrain(IMAGES, TINY, Pretraining(2, 8, 1e-2, seed=1)).digest
    assert 0 <= base.accuracy <= 1
    assert not any(name.startswith("heads.") for name in base.weights())


@pytest.mark.slow
def test_the_digits_vit_learns_and_transfers():
    base = pretrained_digits()
    assert base.accuracy > 0.93
    task = mnist3(10, queries_per_class=50)
    recipe = Recipe("adam", lr=5e-3, weight_decay=5e-3, epochs=15, schedule="linear")
    runs = paired(nothing(task.n_train), seed_pairs(4))
    bank = RunBank(
        task, digits_vit_lora(16, 16, base), recipe, runs, ["query_prediction"], workers=1, chunk=4
    )
    guess = bank.dataset().query_prediction[:, 0, -1].argmax("output")
    assert float((guess == np.asarray(task.query_y)).mean()) > 0.8


# -------------------------------------------------------------- refusals


def test_refusals(vit, base, tmp_path):
    for rank in (0, 9):
        with pytest.raises(ValueError, match=f"rank is {rank}; take 1 to 8"):
            vit_lora(base, rank, 1)
    with pytest.raises(ValueError, match="alpha is 0"):
        vit_lora(base, 1, 0)
    with pytest.raises(ValueError, match="unknown LoRA target 'quary': did you mean 'query'"):
        vit_lora(base, 1, 1, targets=("quary",))
    for targets in ((), ("query", "query")):
        with pytest.raises(ValueError, match="name each projection once"):
            add_lora(vit, 1, 1, targets)
    assert not any(isinstance(m, LoraAttention) for m in vit.modules())
    with pytest.raises(ValueError, match="must divide without remainder"):
        VitConfig(28, 5, 1, 1, 8, 8)
    with pytest.raises(ValueError, match="a size below 1"):
        VitConfig(28, 0, 1, 1, 8, 8)
    with pytest.raises(ValueError, match="with 1 or 3 channels"):
        build(vit_lora(base, 1, 1))(torch.zeros(1, 2, 28, 28))
    with pytest.raises(ValueError, match="epochs"):
        Pretraining(epochs=0)
    with pytest.raises(ValueError, match="give a classification"):
        pretrain(table_like(), TINY, QUICK)
    with pytest.raises(FloatingPointError, match="loss is not finite"):
        pretrain(IMAGES, TINY, Pretraining(epochs=20, lr=1e30))


def test_weights_that_do_not_fit_are_refused(vit, base, tmp_path):
    wide = VitConfig(28, 14, layers=2, heads=2, width=16, mlp_width=12)
    for weights in (base.weights(), {}, base.weights() | {"more": torch.zeros(1)}):
        config = wide if len(weights) == len(base.weights()) else TINY
        with pytest.raises(ValueError, match="do not fit VitConfig"):
            vit_lora(Base.of(config, weights), 1, 1)
    with pytest.raises(ValueError, match="there is no weights file"):
        published_vit_lora(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="did you mean 'IMAGENET1K_V1'"):
        published_vit_lora("IMAGENET1K")
    path = tmp_path / "weights.pt"
    torch.save(vit.state_dict(), path)
    declared = Base.from_file(TINY, path)
    torch.save(random_transformer(seed=1).state_dict(), path)
    vision_transformer._frozen.cache_clear()  # the same weights may have been read by another test
    with pytest.raises(ValueError, match="its sha256 differs"):
        vit_lora(declared, 1, 1)
