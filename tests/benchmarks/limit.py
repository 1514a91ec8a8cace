"""Where a CNN2-L training step goes, and how much of it no rearrangement could save.

    python limit.py [--quick]

On one thread, as in a worker. Prints one line of JSON: milliseconds of a step of 32 images and of
its operations timed by themselves; the floating-point operations that convolutions and matrix
products need (counted by torch) and the rate at which this core multiplies large matrices. Their
quotient, `products_at_peak`, is what those would take if every one ran at that rate.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.func import grad
from torch.utils.flop_counter import FlopCounterMode

from dtda_lib.data.named import mnist3
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import get_recipe, new_optimiser
from dtda_lib.runs.training import with_channels_last

ATEN = torch.ops.aten


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    function()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def step() -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """A whole step, its gradient alone and its update alone."""
    task, model = with_channels_last(mnist3(50, 1)), get_model("cnn2l")
    network, theta = Network.of(model), initial_theta(model, 0)
    x, y = task.train_x[:32], task.train_y[:32]
    update = new_optimiser(get_recipe("published_adam"), theta)
    gradient = grad(lambda t: F.cross_entropy(network(t, x), y))
    found = gradient(theta)
    return (
        lambda: update(theta, gradient(theta), 0.0),
        lambda: gradient(theta),
        lambda: update(theta, found, 0.0),
    )


def layers(rounds: int) -> dict[str, float]:
    """Each operation of the two convolutional layers by itself, forward and backward, in ms."""
    parts = dict.fromkeys(("convolution", "gelu", "pooling"), 0.0)
    generator = torch.Generator().manual_seed(0)

    def images(*shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=generator)
        return drawn.to(memory_format=torch.channels_last)

    for inputs, outputs, side, first in ((1, 32, 28, True), (32, 64, 13, False)):
        x, w, b = (
            images(32, inputs, side, side),
            images(outputs, inputs, 3, 3),
            torch.zeros(outputs),
        )
        out = F.conv2d(x, w, b)
        wanted = [not first, True, True]  # nobody asks for the gradient of the images

        def backward(x=x, w=w, out=out, wanted=wanted) -> object:
            geometry = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
            return ATEN.convolution_backward(out, x, w, [len(w)], *geometry, wanted)

        pooled, index = F.max_pool2d(out, 2, return_indices=True)

        def unpool(out=out, pooled=pooled, index=index) -> object:
            geometry = [2, 2], [2, 2], [0, 0], [1, 1], False
            return ATEN.max_pool2d_with_indices_backward(pooled, out, *geometry, index)

        timed = {
            "convolution": (lambda x=x, w=w, b=b: F.conv2d(x, w, b), backward),
            "gelu": (lambda out=out: F.gelu(out), lambda out=out: ATEN.gelu_backward(out, out)),
            "pooling": (lambda out=out: F.max_pool2d(out, 2, return_indices=True), unpool),
        }
        for name, functions in timed.items():
            parts[name] += sum(milliseconds(function, rounds) for function in functions)
    return parts


def main(quick: bool) -> None:
    torch.set_num_threads(1)
    rounds = 3 if quick else 40
    whole, gradient, update = step()
    with FlopCounterMode(display=False) as counter:
        gradient()
    operations = counter.get_total_flops()
    square = torch.randn(768, 768, generator=torch.Generator().manual_seed(0))
    rate = 2 * len(square) ** 3 / milliseconds(lambda: square @ square, rounds)  # per millisecond
    parts = {"update": milliseconds(update, rounds), **layers(rounds)}
    total = milliseconds(whole, rounds)
    found = {
        "step": total,
        **parts,
        "other": total - sum(parts.values()),
        "products_at_peak": operations / rate,
    }
    found = {f"{name}_ms": float(f"{value:.4g}") for name, value in found.items()}
    print(json.dumps(found | {"operations": operations, "gflops_per_s": round(rate / 1e6, 1)}))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
