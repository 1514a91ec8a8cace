"""A small latent diffusion model (DDPM) as an ordinary task of the engine.

Images are written in a fixed linear *code* (principal components of other images, which never
train), as latent diffusion writes them in the code of a fixed autoencoder. A *row* is one noisy
look at one image: its code x, a noise e and a time, packed as `(x, e, angle)`. At angle a the noisy
code is `cos(a) x + sin(a) e`, so that cos(a)^2 is the share of signal, alpha-bar of Ho et al. 2020.
The network predicts e and returns the *residual* e_hat - e, whose mean square (loss "mean_square")
is the denoising loss; 1 is what predicting 0 costs.

Each training image has a fixed bank of rows. The objective is then a finite sum, as in the other
notebooks: a run is an initialisation and an order of rows, an image is removed by weight 0 on all
its rows, and influence theory applies to the mean of each image's rows.
"""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network
from dtda_lib.runs.measures import Measure, measure
from dtda_lib.runs.removal import Design

N_STEPS = 100  # of the noise schedule
N_WAVES = 4  # pairs of time features
CLIP = 4.0  # codes have a standard deviation below 1; predicted ones are kept within this


# ---------------------------------------------------------------- noise schedule


def schedule(n_steps: int = N_STEPS) -> Tensor:
    """Angles `(step,)`, float64, increasing: cos^2 is the signal's share after steps 1, 2, ...

    The cosine schedule of Nichol and Dhariwal 2021 (offset .008); the last step keeps 1e-4.

    Raises:
        ValueError: fewer than two steps.
    """
    if n_steps < 2:
        raise ValueError(f"schedule: {n_steps} steps are too few; take 2 or more.")
    at = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    share = torch.cos((at + 0.008) / 1.008 * math.pi / 2).square()
    return torch.acos((share[1:] / share[0]).clamp_min(1e-4).sqrt())


def noisy(x: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    """The code after noising, `cos(angle) x + sin(angle) noise`; shapes broadcast.

    Given x it has mean cos(angle) x and variance sin(angle)^2.
    """
    return angle.cos() * x + angle.sin() * noise


def denoising_step(
    x_t: Tensor, noise: Tensor, fresh: Tensor, angle: Tensor, before: Tensor
) -> Tensor:
    """One step of ancestral sampling, from `angle` to the smaller angle `before`.

    The mean and variance of q(x_{t-1} | x_t, x_0) with x_0 as the predicted noise implies it,
    clipped to `CLIP` (Ho et al. 2020, equations 6 and 7).

    Args:
        x_t: Noisy codes `(sample, component)`.
        noise: Predicted noise, the same shape.
        fresh: Standard normal draws, the same shape.
        angle, before: Scalars; `before` 0 gives the clean code.
    """
    x_0 = ((x_t - angle.sin() * noise) / angle.cos()).clamp(-CLIP, CLIP)
    kept = (angle.cos() / before.cos()).square()  # alpha_t
    share, earlier = angle.sin().square(), before.sin().square()
    mean = (before.cos() * (1 - kept) * x_0 + kept.sqrt() * earlier * x_t) / share
    return mean + (earlier / share * (1 - kept)).sqrt() * fresh


# ---------------------------------------------------------------- code and rows


@dataclass(frozen=True)
class LinearCode:
    """Leading principal components of some images, scaled.

    Args:
        mean: Mean image `(pixel,)`.
        vectors: `(component, pixel)`, orthonormal.
        scale: Grey values per unit of code `(component,)`. Between one scale for all and one for
            each (whitening): the geometric mean of the first component's sd and one's own.
        side: Pixels of one side.
        explained: Share of the images' variance that the components hold.
    """

    mean: Tensor
    vectors: Tensor
    scale: Tensor
    side: int
    explained: float

    @classmethod
    def of(cls, images: Tensor, n_components: int) -> "LinearCode":
        """Of images `(image, 1, side, side)`, which should not be those that train.

        Raises:
            ValueError: more components than images or pixels have.
        """
        flat = images.flatten(1).double()
        if not 1 <= n_components < min(flat.shape):
            raise ValueError(
                f"code: {n_components} components of {len(flat)} images of {flat.shape[1]} pixels; "
                f"take 1 to {min(flat.shape) - 1}."
            )
        mean = flat.mean(dim=0)
        _, sizes, vectors = torch.linalg.svd(flat - mean, full_matrices=False)
        sd = sizes / math.sqrt(len(flat) - 1)
        # Signs of singular vectors are the solver's choice: make the largest entry positive.
        rows = vectors[:n_components]
        largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
        explained = float(sizes[:n_components].square().sum() / sizes.square().sum())
        scale = (sd[0] * sd[:n_components]).sqrt()
        return cls(mean, rows * largest.sign(), scale, images.shape[-1], explained)

    def encode(self, images: Tensor) -> Tensor:
        """Codes `(image, component)` of images `(image, 1, side, side)`."""
        flat = images.flatten(1)
        code = (flat.double() - self.mean) @ self.vectors.T / self.scale
        return code.to(images.dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Images `(image, 1, side, side)` of codes `(image, component)`; grey 0 to 1 or beyond."""
        flat = (codes.double() * self.scale) @ self.vectors + self.mean
        return flat.to(codes.dtype).unflatten(1, (1, self.side, self.side))


def halved(images: Tensor) -> Tensor:
    """Images of half the side, by averages of 2 x 2 pixels."""
    return F.avg_pool2d(images, 2)


def packed(codes: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    """Rows `(..., 2 * component + 1)`: code, noise `(..., component)` and angle `(...)`."""
    return torch.cat([codes, noise, angle[..., None]], dim=-1)


def random_rows(codes: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
    """A bank of `(image, draw, 2 * component + 1)` rows: uniform steps, standard normal noise.

    The draws of an image do not depend on the images after it.
    """
    angles, rows = schedule().to(codes.dtype), []
    for code in codes:
        step = torch.randint(len(angles), (n_draws,), generator=generator)
        noise = torch.randn(n_draws, len(code), generator=generator, dtype=codes.dtype)
        rows.append(packed(code.expand(n_draws, -1), noise, angles[step]))
    return torch.stack(rows)


def measuring_rows(
    codes: Tensor, n_times: int, n_noises: int, generator: torch.Generator
) -> Tensor:
    """Rows `(sample, time * noise, 2 * component + 1)` that measure the loss of each sample.

    `n_times` steps spread evenly over the schedule, `n_noises` noises at each: the same for all
    samples and, being part of the task, for all models.
    """
    angles = schedule().to(codes.dtype)
    steps = torch.linspace(0, len(angles) - 1, n_times).round().long()
    angle = angles[steps].repeat_interleave(n_noises)  # (draw,)
    noise = torch.randn(len(angle), codes.shape[1], generator=generator, dtype=codes.dtype)
    n = len(codes)
    wide = codes[:, None].expand(-1, len(angle), -1)
    return packed(wide, noise.expand(n, -1, -1), angle.expand(n, -1))


def denoising_task(name: str, train_rows: Tensor, query_rows: Tensor) -> Task:
    """The task of these banks `(image, draw, ...)` and `(sample, draw, ...)`, a row a point."""
    train, query = train_rows.flatten(0, 1), query_rows.flatten(0, 1)
    return Task(
        name,
        train,
        torch.zeros(len(train), dtype=train.dtype),
        query,
        torch.zeros(len(query), dtype=query.dtype),
        "mean_square",
        (train.shape[1] - 1) // 2,
        source="rows of codes; see dtda_lib.denoising",
    )


def design_of_rows(design: Design, n_draws: int) -> Design:
    """The removal design over rows of one over images: an image's weight is that of its rows."""
    return Design(design.weights.repeat_interleave(n_draws, dim=1), design.labels)


# ---------------------------------------------------------------- network


class Denoiser(nn.Module):
    """Dense layers that return the residual of the predicted noise of packed rows.

    They see the noisy code and `cos, sin(2 k angle)`, k = 1..4, and give v; the predicted noise is
    `sin(angle) x_t + cos(angle) v` (Salimans and Ho 2022), so pure noise is recognised from the
    start. SiLU between layers.

    Args:
        components: Length of a code.
        width: Of each hidden layer.
        depth: Hidden layers.
    """

    def __init__(self, components: int = 16, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.components = components
        sizes = [components + 2 * N_WAVES, *[width] * depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.last = nn.Linear(width, components)

    def forward(self, rows: Tensor) -> Tensor:
        n = self.components
        x, noise, angle = rows[..., :n], rows[..., n : 2 * n], rows[..., 2 * n :]
        x_t = noisy(x, noise, angle)  # (..., component)
        waves = 2 * angle * torch.arange(1, N_WAVES + 1, dtype=rows.dtype, device=rows.device)
        hidden = torch.cat([x_t, waves.cos(), waves.sin()], dim=-1)
        for layer in self.hidden:
            hidden = F.silu(layer(hidden))
        predicted = angle.sin() * x_t + angle.cos() * self.last(hidden)
        return predicted - noise  # (..., component)


def denoiser(components: int, width: int, depth: int) -> Model:
    """A factory of `Denoiser`s."""
    return partial(Denoiser, components=components, width=width, depth=depth)


def predicted_noise(network: Network, theta: Tensor, x_t: Tensor, angle: Tensor) -> Tensor:
    """What the model takes for noise in noisy codes `(sample, component)` at one angle, a scalar.

    Rows hold a code and a noise; the network sees only what they make together, so any pair that
    makes x_t will do.
    """
    code, noise = angle.cos() * x_t, angle.sin() * x_t
    return network(theta, packed(code, noise, angle.expand(len(x_t)))) + noise


def generate(
    network: Network, theta: Tensor, n: int, components: int, generator: torch.Generator
) -> Tensor:
    """Codes `(n, component)` by ancestral sampling from pure noise, all draws from `generator`."""
    angles = torch.cat([torch.zeros(1, dtype=torch.float64), schedule()]).to(theta.dtype)
    shape = (n, components)
    x = torch.randn(shape, generator=generator, dtype=theta.dtype)
    for step in range(len(angles) - 1, 0, -1):
        noise = predicted_noise(network, theta, x, angles[step])
        fresh = torch.randn(shape, generator=generator, dtype=theta.dtype)
        x = denoising_step(x, noise, fresh, angles[step], angles[step - 1])
    return x


def sample_loss(n_rows: int) -> Measure:
    """The measure m: mean denoising loss of each sample over its `n_rows` rows, `(sample,)`.

    The task's queries are those of `measuring_rows`. A function of theta alone: no draw is made.
    """

    @measure(dims=("sample",), unit="mean squared error of the predicted noise (noise has 1)")
    def sample_loss(network: Network, theta: Tensor, task: Task) -> Tensor:
        losses = task.per_example_loss(network(theta, task.query_x), task.query_y)
        return losses.unflatten(0, (-1, n_rows)).mean(dim=1)  # (row,) -> (sample,)

    return sample_loss
