"""The networks: plain `nn.Module`s, and the flat parameter vector theta they run on.

Everything downstream sees a model as a *factory* `() -> nn.Module` and its parameters as one flat
vector `theta` of shape `(parameter,)`: optimisers, Hessians and laws then need no special cases.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.dropout import _DropoutNd

from dtda_lib.names import Shown, refuse_unknown_settings, unknown

from .convnets import CNN2LRGB, CNN3L, CNN3LRGB
from .user_code import user_code

Model = Callable[[], nn.Module]


class CNN2L(nn.Module):
    """CNN2-L for MNIST exactly as published: 225,034 parameters.

    conv 1→32 k3, conv 32→64 k3, each followed by GELU and 2x2 max-pooling; fc 1600→128, GELU,
    fc 128→10. Source: NetBW in the code of 2305.19765 (utils.py:24-105).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(1600, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.gelu(self.conv1(x)), 2)  # (B, 1, 28, 28) -> (B, 32, 13, 13)
        x = F.max_pool2d(F.gelu(self.conv2(x)), 2)  # (B, 32, 13, 13) -> (B, 64, 5, 5)
        x = F.gelu(self.fc1(x.flatten(1)))  # (B, 64, 5, 5) -> (B, 1600) -> (B, 128)
        return self.fc2(x)  # (B, 128) -> (B, 10)


ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class MLP(nn.Module):
    """A fully connected network; `widths` lists input, hidden and output sizes.

    Raises:
        ValueError: fewer than two widths, a width below 1 or an unknown activation.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 16, 1), activation: str = "relu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(unknown("activation", activation, ACTIVATIONS))
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"model 'mlp': widths are {tuple(widths)}; give two or more, each >= 1."
            )
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # (B, ...) -> (B, widths[-1])


MODELS: dict[str, type[nn.Module]] = {
    "cnn2l": CNN2L,
    "cnn2l_rgb": CNN2LRGB,
    "cnn3l": CNN3L,
    "cnn3l_rgb": CNN3LRGB,
    "mlp": MLP,
}


class ModelFactory(Shown, functools.partial):
    """`() -> nn.Module`: a new network of one kind and size at each call.

    To a fingerprint it is the partial that it is: a class, and the settings given to it.
    """

    def _facts(self) -> dict[str, object]:
        given = {f"argument {k}": value for k, value in enumerate(self.args)}
        return {"network": self.func.__name__} | given | self.keywords


def get_model(name: str, **settings: object) -> Model:
    """A factory of the model of that name: called without arguments it returns a new network.

    Args:
        name: A name in `MODELS`: "mlp", "cnn2l", "cnn3l_rgb", ...
        settings: Of that network, such as `widths` and `activation` of "mlp".

    Raises:
        ValueError: an unknown name, also of a setting, with the nearest one.
    """
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    refuse_unknown_settings(f"model {name!r}", MODELS[name], settings)
    return ModelFactory(MODELS[name], **settings)


@dataclass(frozen=True)
class Layout:
    """How named parameters lie in the flat vector theta.

    Weights of convolutions are stored with channels last: on a CPU that makes their trainings
    about a third faster, and nobody has to see it but this class.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> "Layout":
        """The layout of a module's trainable parameters.

        Raises:
            ValueError: the module has buffers (batch statistics change during training and make
                a run depend on more than theta), or no trainable parameter.
        """
        buffers = [name for name, _ in module.named_buffers()]
        if buffers:
            raise ValueError(
                f"model {type(module).__name__}: it keeps buffers ({buffers[0]}, ...), which "
                "training would change; use layers without running statistics."
            )
        named = [(n, tuple(p.shape)) for n, p in module.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError(f"model {type(module).__name__}: it has no trainable parameter.")
        return cls(tuple(n for n, _ in named), tuple(s for _, s in named))

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each parameter."""
        return [math.prod(shape) for shape in self.shapes]

    @property
    def n_parameters(self) -> int:
        """Length P of theta."""
        return sum(self.sizes)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Views into theta `(parameter,)`: a dict for `torch.func.functional_call`."""
        return {
            name: _view(piece, shape)
            for name, shape, piece in zip(self.names, self.shapes, theta.split(self.sizes))
        }

    def flatten(self, parameters: dict[str, Tensor]) -> Tensor:
        """The inverse of `unflatten`: a new vector `(parameter,)`."""
        return torch.cat([_flat(parameters[name]) for name in self.names])


def _view(piece: Tensor, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 4:
        out, into, row, col = shape
        return piece.view(out, row, col, into).permute(0, 3, 1, 2)  # -> (out, in, row, col)
    return piece.view(shape)


def _flat(parameter: Tensor) -> Tensor:
    if parameter.ndim == 4:
        parameter = parameter.permute(0, 2, 3, 1)  # (out, in, row, col) -> (out, row, col, in)
    return parameter.reshape(-1)


@dataclass(frozen=True)
class Network:
    """A model as a pure function of theta: `network(theta, x) -> output`; see `Network.of`.

    theta `(parameter,)` holds all that trains, x `(example, ...)`, the output `(example, output)`.

    Args:
        module: Gives the computation; its own weights are not used, but for frozen ones.
        layout: Where each named parameter lies in theta.
    """

    module: nn.Module
    layout: Layout

    @classmethod
    def of(cls, model: Model) -> "Network":
        """Build the module once; its own initial weights are never used.

        Raises:
            ValueError: a layer draws random masks in training (they would come from the global
                stream, which no seed of a run fixes), or see `new_module` and `Layout.of`.
        """
        module = new_module(model)
        for name, layer in module.named_modules():
            if why := why_random(layer):
                raise ValueError(f"model {type(module).__name__} (its layer {name!r}): {why}")
        return cls(module, Layout.of(module))

    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        given = self.layout.unflatten(theta)
        # Every place is named once: torch, told to find ties by itself, leaves its tensors in a
        # module that can be reached by two names.
        placed = {place: given[name] for place, name in self._places.items()}
        return functional_call(self.module, placed, (x,), tie_weights=False)

    @functools.cached_property
    def _places(self) -> dict[str, str]:
        """Where each trainable parameter is used -> its name in theta; tied weights are used twice.

        A module that can be reached by two names is one place.
        """
        names = {id(p): name for name, p in self.module.named_parameters()}
        return {
            f"{path}.{name}".lstrip("."): names[id(parameter)]
            for path, part in self.module.named_modules()
            for name, parameter in part._parameters.items()
            if parameter is not None and parameter.requires_grad
        }

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"model {type(self.module).__name__}"

    @property
    def convolutional(self) -> bool:
        """Whether any layer is a convolution; these run best one model at a time on a CPU."""
        return any(isinstance(m, nn.modules.conv._ConvNd) for m in self.module.modules())


def why_random(layer: nn.Module) -> str:
    """Why a layer that draws random numbers cannot be part of a model, or nothing."""
    if isinstance(layer, _DropoutNd) and layer.training and layer.p > 0:
        return (
            f"{type(layer).__name__} draws a random mask at every step, which no seed of a run "
            "fixes; take it out, set p=0 or return the module from .eval(), and regularise by "
            "weight decay."
        )
    return ""


def new_module(model: Model, init_seed: int = 0) -> nn.Module:
    """What the factory makes under a seed.

    torch's layers can only draw from the global stream, so that is forked, seeded and restored:
    nothing outside sees it, and the values are those of `torch.manual_seed(init_seed); model()`,
    as in the published code.

    Raises:
        ValueError: it makes something else than an `nn.Module`.
        RuntimeError: it ends the process.
    """
    with torch.random.fork_rng(devices=[]), user_code("model factory", name_errors=False):
        torch.manual_seed(init_seed)
        module = model()
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"model factory returned {type(module).__name__}; it must return a torch.nn.Module."
        )
    return module


def initial_theta(model: Model, init_seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Initial parameters `(parameter,)` drawn with PyTorch's own initialisation (`new_module`)."""
    module = new_module(model, init_seed)
    return Layout.of(module).flatten(
        {name: p.detach().to(dtype) for name, p in module.named_parameters() if p.requires_grad}
    )
