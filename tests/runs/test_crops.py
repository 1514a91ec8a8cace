"""Random crops: torchvision's law, torchvision's pixels, an explicit stream, losses for R4."""

import numpy as np
import pytest
import torch
from helpers import digits_like
from scipy.stats import ks_2samp
from torch.func import vmap

from dtda_lib.data.crops import crop_boxes, normalised, random_crops, resize, resized_crops
from dtda_lib.data.sources import import_torchvision
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.crop_loss import crop_loss, crop_losses, crop_variance
from dtda_lib.runs.fingerprint import measure_identity
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing

import_torchvision()
from torchvision.transforms import RandomResizedCrop, functional  # noqa: E402

NETWORK = Network.of(get_model("cnn2l"))


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def torchvisions_boxes(n, height, width, scale, ratio):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        image = torch.zeros(1, height, width)
        return np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(n)])


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (28, 28, (0.08, 1.0), (3 / 4, 4 / 3)),
        (32, 48, (0.3, 0.9), (0.5, 2.0)),
        (60, 20, (0.5, 1.0), (3 / 4, 4 / 3)),  # most draws do not fit, many fall back
    ],
)
def test_boxes_follow_torchvisions_law(height, width, scale, ratio):
    ours = crop_boxes(4000, height, width, stream(), scale, ratio).numpy()
    theirs = torchvisions_boxes(4000, height, width, list(scale), list(ratio))
    mixed = (*ours.T, ours[:, 2] * ours[:, 3], ours[:, 0] - ours[:, 3])  # joint laws, too
    other = (*theirs.T, theirs[:, 2] * theirs[:, 3], theirs[:, 0] - theirs[:, 3])
    for a, b in zip(mixed, other):
        assert ks_2samp(a, b).pvalue > 1e-3
    assert (ours >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()


@pytest.mark.parametrize(("height", "width"), [(28, 28), (30, 300), (300, 31)])
def test_where_nothing_fits_the_box_is_torchvisions(height, width):
    scale, ratio = (4.0, 5.0), (3 / 4, 4 / 3)
    theirs = torchvisions_boxes(1, height, width, list(scale), list(ratio))
    assert crop_boxes(2, height, width, stream(), scale, ratio).tolist() == [*theirs.tolist()] * 2


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 28), (32, 20, 56), (40, 40, 7)])
def test_crops_are_torchvisions_pixels(height, width, size, dtype, tolerance):
    x = torch.rand(20, 3, height, width, generator=stream(), dtype=dtype)
    boxes = crop_boxes(20, height, width, stream(1))
    theirs = [
        functional.resized_crop(image, *box, [size, size], antialias=True)
        for image, box in zip(x, boxes.tolist())
    ]
    ours = resized_crops(x, boxes, size)
    torch.testing.assert_close(ours, torch.stack(theirs), rtol=0, atol=tolerance)
    whole = functional.resize(x, [size, size], antialias=True)
    torch.testing.assert_close(resize(x, size), whole, rtol=0, atol=tolerance)
    mapped = vmap(resized_crops, (0, 0, None))(x, boxes, size)
    torch.testing.assert_close(mapped, ours, rtol=0, atol=tolerance)


def test_random_crops_have_their_own_boxes_and_stream():
    x = torch.rand(3, 1, 28, 28, generator=stream())
    crops = random_crops(x, 4, 14, generator=stream(5))
    assert crops.shape == (4, 3, 1, 14, 14)
    assert torch.equal(crops, random_crops(x, 4, 14, generator=stream(5)))
    assert not torch.equal(crops, random_crops(x, 4, 14, generator=stream(6)))
    boxes = crop_boxes(12, 28, 28, stream(5)).reshape(4, 3, 4)
    torch.testing.assert_close(crops[2, 1], resized_crops(x[1], boxes[2, 1], 14))
    assert torch.equal(resize(x, 28), x)
    assert torch.equal(random_crops(x, 2, 28, (3.0, 4.0), stream()), torch.stack([x, x]))


def test_grey_images_become_normalised_colour():
    mean, std = torch.tensor([0.2, 0.4, 0.6])[:, None, None], torch.full((3, 1, 1), 0.5)
    grey = torch.rand(2, 1, 28, 28, generator=stream())
    x = normalised(grey, 32, mean, std)
    assert x.shape == (2, 3, 32, 32)
    torch.testing.assert_close(x * std + mean, resize(grey, 32).expand(-1, 3, -1, -1))
    assert torch.equal(x, normalised(grey.expand(-1, 3, -1, -1), 32, mean, std))
    for shape in ((2, 2, 28, 28), (2, 784)):
        with pytest.raises(ValueError, match="with 1 or 3 channels"):
            normalised(torch.zeros(shape), 32, mean, std)


def test_losses_of_crops_are_those_of_each_crop():
    task = digits_like(n_query=60)
    theta = initial_theta(get_model("cnn2l"), 0, torch.float64)
    crops = random_crops(task.query_x, 3, 28, generator=stream())
    losses = crop_losses(NETWORK, theta, task, crops)
    for crop, row in zip(crops, losses):
        expected = task.per_example_loss(NETWORK(theta, crop), task.query_y)
        torch.testing.assert_close(row, expected, rtol=1e-12, atol=1e-12)
    expected = ((losses - losses.mean(dim=0)) ** 2).sum(dim=0) / 2
    torch.testing.assert_close(crop_variance(losses), expected)


def test_a_bank_measures_the_same_crops_of_every_model():
    task = digits_like(n_train=4, dtype=torch.float32)
    measure = crop_loss(task, 5, 28, seed=7)
    runs = paired(nothing(4), [(1, 1), (2, 2)])
    model = get_model("mlp", widths=(784, 3, 10))
    settings = {"measures": [measure, "parameters"], "workers": 1}  # stacked under vmap
    data = RunBank(task, model, Recipe(epochs=1), runs, **settings).dataset()
    assert data.crop_loss.dims == ("seed", "removal", "checkpoint", "crop", "query")
    crops = random_crops(task.query_x, 5, 28, generator=stream(7))
    for seed in range(2):
        theta = torch.from_numpy(data.parameters.values[seed, 0, 0])
        expected = crop_losses(Network.of(model), theta, task, crops)
        np.testing.assert_allclose(data.crop_loss[seed, 0, 0], expected, rtol=1e-5, atol=1e-6)


def test_the_settings_of_the_measure_are_its_identity():
    task = digits_like()
    settings = {"n_crops": 2, "size": 28, "scale": (0.5, 1.0), "seed": 0}
    first = measure_identity(crop_loss(task, **settings))
    assert first == measure_identity(crop_loss(task, **settings))
    for change in ({"n_crops": 3}, {"size": 14}, {"scale": (0.4, 1.0)}, {"seed": 1}):
        assert first != measure_identity(crop_loss(task, **(settings | change)))


def test_refusals():
    x = torch.zeros(2, 1, 28, 28)
    with pytest.raises(ValueError, match="no generator was given"):
        random_crops(x, 2, 28)
    with pytest.raises(ValueError, match="scale is"):
        random_crops(x, 2, 28, (0.0, 1.0), stream())
    with pytest.raises(ValueError, match="ratio is"):
        crop_boxes(2, 28, 28, stream(), ratio=(2.0, 1.0))
    with pytest.raises(ValueError, match="0 boxes"):
        random_crops(x, 0, 28, generator=stream())
    with pytest.raises(ValueError, match="size is 0"):
        random_crops(x, 1, 0, generator=stream())
    theta = initial_theta(get_model("cnn2l"), 0)
    with pytest.raises(ValueError, match="make the measure with this task"):
        crop_loss(digits_like(n_query=4), 2, 28)(NETWORK, theta, digits_like(n_query=5))
