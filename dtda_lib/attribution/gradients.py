"""Loss gradients of single examples, vectorised: what nearly every estimator starts from."""

from collections.abc import Iterator

from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

# Per-example gradients held at once, beside those of the training points. 32 of CNN2-L take 29 MB;
# pieces of 25 to 50 were the fastest of those tried.
EXAMPLE_CHUNK = 32


def per_example_gradients(
    network: Network, theta: Tensor, task: Task, x: Tensor, y: Tensor
) -> Iterator[Tensor]:
    """Loss gradients `(example, parameter)` of the examples, in chunks of `EXAMPLE_CHUNK`.

    Args:
        network: The model.
        theta: `(parameter,)`.
        task: Gives the loss.
        x, y: Examples `(example, ...)` and targets `(example,)`.
    """

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        output = network(theta, x.unsqueeze(0))  # (...) -> (1, ...)
        return task.per_example_loss(output, y.unsqueeze(0))[0]

    for part in range(0, len(x), EXAMPLE_CHUNK):
        piece = slice(part, part + EXAMPLE_CHUNK)
        yield vmap(grad(loss), in_dims=(None, 0, 0))(theta, x[piece], y[piece])
