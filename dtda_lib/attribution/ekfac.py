"""EK-FAC: Kronecker-factored eigenbases of the Gauss-Newton matrix, layer by layer.

What is used where the Gauss-Newton matrix is too large. Here it stands beside `influence_ggn`,
which is exact and no slower on small data, to show what the approximation (blocks of layers,
Kronecker eigenvectors) changes.

A linear layer of example i maps inputs a_t (a 1 appended for the bias) to outputs at places t: one
place for a plain linear layer, one per patch for a convolution. With g_tc the gradient in the
output at place t along column c of the loss's curvature root, a curvature gradient of the layer is
`G_ic = sum_t g_tc a_t^T`, and the layer's block of the Gauss-Newton matrix is exactly
`(1/N) sum_ic vec(G_ic) vec(G_ic)^T`. KFAC (Martens and Grosse 2015; places as examples of their
own: "expand", Eschenhagen et al. 2311.00636) puts a Kronecker product in its place, whose
eigenvectors are those of `sum a a^T` and `sum g g^T`. EK-FAC (George et al. 1806.03884) keeps these
eigenvectors and takes as eigenvalues the mean squares of the curvature gradients along them: the
exact diagonal of the block in that basis. No label is drawn, so all is a function of theta.

A vector "in the basis" is a layer after the other, each `(out, in + 1)` flat.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vjp, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Layout, Network
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe

from .curvature import checked_ridge, loss_curvature_root
from .gradients import EXAMPLE_CHUNK
from .influence import BLOCK_BYTES
from .targets import (
    checked_target,
    estimates,
    refuse_constant,
    shaped,
    target_gradients,
    target_shape,
)

# Examples per pass of a dense network; measured five times as fast as EXAMPLE_CHUNK.
DENSE_CHUNK = 256
INSTEAD = "use 'influence_ggn', which takes any layer"
UNBOUNDED = "directions without curvature would count without bound"


def influence_ekfac(
    recipe: Recipe, *, of: str | Measure = query_loss, damping: float = 0.0
) -> Measure:
    """Influence with the EK-FAC approximation of the Gauss-Newton matrix (Grosse, 2308.03296).

    The predicted shift upon removal `(1/N) sum_j m_j t_j / (lambda_j + l2 + damping)`, with m and t
    the gradients of the measurement and of the point's loss in the Kronecker eigenbasis and lambda
    its corrected eigenvalues. l2 is `recipes.objective_l2`; damping is extra, our choice. The
    eigenvalues come from the loss's exact curvature, not from sampled labels, so one model has one
    answer. Linear and convolutional layers ("expand"), bias and weight together.

    Measured on trained digits (1,000 points, three dense networks of 2,410 parameters): over
    all pairs, correlation with `influence_ggn` of .74 to .81 at damping 1e-4, .87 to .89 at .01,
    .99 at 1; for a small convolutional network .55, .62 and .70 at 1e-4, .01 and .1. Blocks
    without cross terms also make shifts too large (2.2 times at .01, 3 with convolutions): trust
    the order of points more than their size. curvlinops and kronfluence, which draw labels, fare
    no better, by at most .001 where they lead.

    Costs outputs * (train) backward passes, twice, an eigendecomposition per layer, and
    `BLOCK_BYTES` of gradients. In float64.

    Raises:
        ValueError: `l2 + damping` is not positive and finite, see `targets.checked_target`, or
            (when used) the network has other layers, see `layers_of`.
    """
    of = checked_target(of)
    ridge = checked_ridge("influence_ekfac", recipe, damping, UNBOUNDED)

    @estimates(of, ("if_ekfac",))
    def influence_ekfac(network: Network, theta: Tensor, task: Task) -> Tensor:
        basis = kronecker_basis(network, (theta,), task)
        weight = 1 / (corrected_eigenvalues(network, (theta,), task, basis) + ridge)
        size = max(1, BLOCK_BYTES // (8 * len(theta)))  # points whose gradients fit
        rows = []
        for x, y in zip(task.train_x.split(size), task.train_y.split(size)):
            points = gradients_in_basis(network, theta, basis, x, y, loss_cotangents(task))
            train = torch.cat(list(points)) * weight  # (point, parameter)
            targets = targets_in_basis(network, theta, task, basis, of)
            rows.append(torch.cat([train @ target.T for target in targets], dim=1))
        scores = torch.cat(rows) / task.n_train  # (train, entry)
        return shaped(scores.unsqueeze(0), network, theta, task, of)

    return influence_ekfac


# --- layers and their factors ---------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A linear or convolutional layer; which of its parameters are trained.

    Its gradient as a matrix is `(out, in + 1)`, the bias last; the inputs of a convolution are in
    theta's order (row, column, channel).
    """

    name: str
    module: nn.Linear | nn.Conv2d
    weight: bool
    bias: bool

    def inputs(self, x: Tensor) -> Tensor:
        """What the layer's matrix is multiplied with, `(example, place, in + 1)`, float64."""
        pieces = []
        if isinstance(self.module, nn.Conv2d):
            conv = self.module
            columns = F.unfold(
                x, conv.kernel_size, conv.dilation, conv.padding, conv.stride
            )  # (example, channel * row * col, place)
            columns = columns.unflatten(1, (conv.in_channels, -1))
            x = columns.permute(0, 3, 2, 1).flatten(2)  # (example, place, row * col * channel)
        else:
            x = x.reshape(len(x), -1, x.shape[-1])  # (example, place, in)
        if self.weight:
            pieces.append(x)
        if self.bias:
            pieces.append(torch.ones_like(x[..., :1]))
        return torch.cat(pieces, dim=-1).double()

    def outputs(self, gradient: Tensor) -> Tensor:
        """A gradient in the layer's output as `(example, place, out)`, float64."""
        if isinstance(self.module, nn.Conv2d):
            return gradient.flatten(2).transpose(1, 2).double()  # (example, out, row, col) -> ...
        return gradient.reshape(len(gradient), -1, gradient.shape[-1]).double()


def layers_of(network: Network) -> tuple[Layer, ...]:
    """The layers that own all of theta, in its order.

    Raises:
        ValueError: a parameter of another kind of layer, one shared by two layers, or a
            convolution with groups or padding other than zeros.
    """
    owned: dict[str, set[str]] = {}
    for parameter in network.layout.names:
        name, _, kind = parameter.rpartition(".")
        module = network.module.get_submodule(name)
        if type(module) not in (nn.Linear, nn.Conv2d):
            raise ValueError(
                f"EK-FAC: parameter {parameter!r} belongs to a {type(module).__name__}, and only "
                f"linear and convolutional layers have Kronecker factors; {INSTEAD}."
            )
        if isinstance(module, nn.Conv2d) and (
            module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str)
        ):
            raise ValueError(
                f"EK-FAC: convolution {name!r} has groups or a padding other than a number of "
                f"zeros; {INSTEAD}."
            )
        owned.setdefault(name, set()).add(kind)
    parameters = [p for _, p in network.module.named_parameters(remove_duplicate=False)]
    if len(parameters) > len({id(p) for p in parameters}):
        raise ValueError(f"EK-FAC: two layers share a parameter; {INSTEAD}.")
    return tuple(
        Layer(name, network.module.get_submodule(name), "weight" in kinds, "bias" in kinds)
        for name, kinds in owned.items()
    )


def chunk_of(network: Network) -> int:
    """Examples in one pass."""
    return EXAMPLE_CHUNK if network.convolutional else DENSE_CHUNK


@contextmanager
def _watched(
    layers: Iterable[Layer], seen: Callable[[str, Tensor, Tensor], Tensor]
) -> Iterator[None]:
    """While it lasts, each layer's output is what `seen(name, input, output)` returns."""
    handles = [
        layer.module.register_forward_hook(
            lambda _, args, output, name=layer.name: seen(name, args[0], output)
        )
        for layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


Cotangents = Callable[[Tensor], Tensor]  # outputs (example, out) -> (column, example, out)
TargetCotangents = Callable[[Tensor, Tensor], Tensor]  # the same, of outputs and targets
Factors = tuple[Tensor, Tensor]


def layer_factors(
    network: Network, theta: Tensor, layers: tuple[Layer, ...], x: Tensor, along: Cotangents
) -> list[Factors]:
    """Inputs a `(example, place, in + 1)` and gradients g `(column, example, place, out)` by layer.

    The gradients are of `cotangent . output` in each layer's output, for each of the cotangents
    that `along` makes of the network's output; `sum_t g a^T` is the gradient in the layer's matrix.

    Raises:
        ValueError: a layer is called twice in one pass, or not at all.
    """
    inputs: dict[str, Tensor] = {}
    zeros: dict[str, Tensor] = {}

    def note(name: str, given: Tensor, output: Tensor) -> Tensor:
        if name in inputs:
            raise ValueError(f"EK-FAC: layer {name!r} is used twice in one pass; {INSTEAD}.")
        inputs[name], zeros[name] = given, torch.zeros_like(output)
        return output

    with _watched(layers, note):
        network(theta, x)
    if missing := [layer.name for layer in layers if layer.name not in inputs]:
        raise ValueError(f"EK-FAC: layer {missing[0]!r} is never called; {INSTEAD}.")

    def moved(shifts: dict[str, Tensor]) -> Tensor:
        with _watched(layers, lambda name, _, output: output + shifts[name]):
            return network(theta, x)

    output, pull = vjp(moved, zeros)
    pulled = [pull(cotangent)[0] for cotangent in along(output)]
    return [
        (
            layer.inputs(inputs[layer.name]),
            torch.stack([layer.outputs(one[layer.name]) for one in pulled]),
        )
        for layer in layers
    ]


def _curvature_columns(task: Task) -> Cotangents:
    def columns(output: Tensor) -> Tensor:
        roots = vmap(lambda out: loss_curvature_root(out, task.loss))(output)
        return roots.permute(2, 0, 1)  # (example, output, column) -> (column, example, output)

    return columns


# --- the basis ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KroneckerBasis:
    """Orthonormal eigenvectors of both factors of each layer, as columns, float64.

    `inputs[l]` is `(in + 1, in + 1)`, `outputs[l]` is `(out, out)`. Where a factor has equal
    eigenvalues, the basis within their space is arbitrary, and so is the approximation.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def turned(self, factors: list[Factors]) -> Iterator[Factors]:
        """a and g of each layer, see `layer_factors`, in coordinates of the basis."""
        for (a, g), of_inputs, of_outputs in zip(factors, self.inputs, self.outputs):
            yield a @ of_inputs, g @ of_outputs


def kronecker_basis(network: Network, thetas: Sequence[Tensor], task: Task) -> KroneckerBasis:
    """Eigenvectors of KFAC's factors of the training loss, each summed over `thetas`.

    One theta `(parameter,)` for the model itself; SOURCE takes several along a training.

    Raises:
        ValueError: see `layers_of` and `layer_factors`.
    """
    layers, along = layers_of(network), _curvature_columns(task)
    sums: list[Factors] = []
    for theta, x in itertools.product(thetas, task.train_x.split(chunk_of(network))):
        factors = layer_factors(network, theta, layers, x, along)
        here = [
            (torch.einsum("etj,etk->jk", a, a), torch.einsum("cetj,cetk->jk", g, g))
            for a, g in factors
        ]
        sums = [(a + b, g + h) for (a, g), (b, h) in zip(sums, here)] if sums else here
    vectors = [(torch.linalg.eigh(a)[1], torch.linalg.eigh(g)[1]) for a, g in sums]
    inputs, outputs = zip(*vectors)
    return KroneckerBasis(layers, inputs, outputs)


def corrected_eigenvalues(
    network: Network, thetas: Sequence[Tensor], task: Task, basis: KroneckerBasis
) -> Tensor:
    """Mean square of the curvature gradients along each vector of the basis, `(parameter,)`.

    That is the diagonal of the Gauss-Newton matrix of the mean training loss in that basis, in
    loss units per squared parameter unit, float64, averaged over `thetas`; no L2 term.
    """
    total = []
    for theta, x in itertools.product(thetas, task.train_x.split(chunk_of(network))):
        factors = layer_factors(network, theta, basis.layers, x, _curvature_columns(task))
        squares = [_sum_of_squares(a, g).flatten() for a, g in basis.turned(factors)]
        total.append(torch.cat(squares))
    return torch.stack(total).sum(dim=0) / (task.n_train * len(thetas))


def _sum_of_squares(a: Tensor, g: Tensor) -> Tensor:
    """`sum_{c,e} (sum_t g a^T)^2`, `(out, in + 1)`."""
    if a.shape[1] == 1:  # one place: the square of a product is a product of squares
        return torch.einsum("ceo,ei->oi", g[:, :, 0].square(), a[:, 0].square())
    return sum(torch.einsum("eto,eti->eoi", one, a).square().sum(dim=0) for one in g)


# --- gradients in the basis -----------------------------------------------------------------------


def loss_cotangents(task: Task) -> TargetCotangents:
    """Cotangents of the losses: one column, `(1, example, out)`."""

    def along(output: Tensor, targets: Tensor) -> Tensor:
        return grad(lambda out: task.per_example_loss(out, targets).sum())(output)[None]

    return along


def gradients_in_basis(
    network: Network,
    theta: Tensor,
    basis: KroneckerBasis,
    x: Tensor,
    y: Tensor,
    along: TargetCotangents,
) -> Iterator[Tensor]:
    """Gradients of the examples in the basis, float64, some examples at a time.

    `(example * column, parameter)`, of `cotangent . output` for each column that `along` makes of
    the examples' outputs and targets `y`; columns of an example lie side by side.
    """
    size = chunk_of(network)
    for points, targets in zip(x.split(size), y.split(size)):

        def columns(output: Tensor, targets: Tensor = targets) -> Tensor:
            return along(output, targets)

        factors = layer_factors(network, theta, basis.layers, points, columns)
        matrices = [torch.einsum("ceto,eti->ecoi", g, a) for a, g in basis.turned(factors)]
        yield torch.cat([one.flatten(2) for one in matrices], dim=2).flatten(0, 1)


def targets_in_basis(
    network: Network, theta: Tensor, task: Task, basis: KroneckerBasis, of: Measure
) -> Iterator[Tensor]:
    """Gradients `(entry, parameter)` of a measurement's values in the basis, see `targets`.

    Of single queries they are made by layers, at the cost of `gradients_in_basis`; others are
    turned into the basis.
    """
    if of.of_outputs is None:
        for rows in target_gradients(network, theta, task, of):
            yield into_basis(network.layout, basis, rows.double())
        return
    entries = target_shape(network, theta, task, of)[1:].numel()  # of one query

    def along(output: Tensor, targets: Tensor) -> Tensor:
        def entry(output: Tensor, number: int) -> Tensor:  # summed over queries
            values = of.of_outputs(output, targets, task)
            refuse_constant(values, of)
            return values.reshape(len(values), -1)[:, number].sum()

        return torch.stack([grad(entry)(output, number) for number in range(entries)])

    yield from gradients_in_basis(network, theta, basis, task.query_x, task.query_y, along)


def into_basis(layout: Layout, basis: KroneckerBasis, rows: Tensor) -> Tensor:
    """Vectors `(row, parameter)` as theta lies, float64, in coordinates of the basis."""
    turned = [
        torch.einsum("noi,op,ij->npj", rows[:, place], outputs, inputs).flatten(1)
        for place, inputs, outputs in zip(_places(layout, basis), basis.inputs, basis.outputs)
    ]
    return torch.cat(turned, dim=1)


def out_of_basis(layout: Layout, basis: KroneckerBasis, rows: Tensor) -> Tensor:
    """The inverse of `into_basis`."""
    places = _places(layout, basis)
    found = torch.empty_like(rows)
    pieces = rows.split([place.numel() for place in places], dim=1)
    for piece, place, inputs, outputs in zip(pieces, places, basis.inputs, basis.outputs):
        turned = piece.unflatten(1, place.shape)
        found[:, place] = torch.einsum("npj,op,ij->noi", turned, outputs, inputs)
    return found


def _places(layout: Layout, basis: KroneckerBasis) -> list[Tensor]:
    """Where the entries `(out, in + 1)` of each layer's matrix lie in theta."""
    slots = dict(zip(layout.names, torch.arange(layout.n_parameters).split(layout.sizes)))
    return [
        torch.cat(
            [
                slots[f"{layer.name}.{kind}"].view(len(outputs), -1)
                for kind, trained in (("weight", layer.weight), ("bias", layer.bias))
                if trained
            ],
            dim=1,
        )
        for layer, outputs in zip(basis.layers, basis.outputs)
    ]
