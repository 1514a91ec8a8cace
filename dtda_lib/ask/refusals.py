"""Can a model of your own be asked? Refused here, in one sentence, if its runs would mean nothing.

The engine takes a *factory* `() -> nn.Module` and treats the module as a pure function of its
parameters. What breaks that breaks the answer, mostly in silence: code that draws random numbers
or keeps a state of its own, or that lets one example act on another (a removed point has weight 0,
but is still in its batch). So a model is looked at, tried on a few points, and trained for one
epoch. Dropout and batch norm are trained by `runs.loop`, one run at a time.
"""

import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from dtda_lib.data.task import Task
from dtda_lib.models.adapted import TRIED, Adapted, adapted
from dtda_lib.models.networks import Model, Network, initial_theta, new_module
from dtda_lib.names import short
from dtda_lib.runs.loop import LoopRecipe, evaluated, train_alone, why_alone
from dtda_lib.runs.measures import query_loss
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train

_CLOSE = 1e-4  # relative; rounding of float32 stays far below


def check_model(
    model: Model,
    task: Task,
    recipe: Recipe | None = None,
    *,
    chunk: int | None = None,
    same_start: bool = False,
) -> Network:
    """The model as a function of theta, if it can be asked about this task.

    Args:
        model: A class or function that returns a new `nn.Module` at each call.
        task: Whose first points the model is tried on.
        recipe: Also train two stacked runs for one epoch on those points.
        chunk: As for `RunBank`; 1 trains runs one by one, so that none are stacked here either.
        same_start: Take a factory that gives all seeds the same initial weights, as fine-tuning
            from one checkpoint does; the law is then over batch order alone.

    Raises:
        ValueError: one sentence that names the layer or the reason and says what to use instead.

    Warns:
        UserWarning: the module is of another precision than the task, in which it will train; a
            parameter that no output depends on; probabilities where logits are wanted.
    """
    _refuse_swapped(task, model, recipe)
    if isinstance(model, nn.Module):
        raise ValueError(
            f"model {_kind(model)}: this is one network; give the class or a function that builds "
            "a new one, because every seed draws its own initial weights."
        )
    model = adapted(model, task)
    first, again, second = (new_module(model, seed) for seed in (0, 0, 1))
    if any(kind.__name__ == "LightningModule" for kind in type(_inner(first)).__mro__):
        raise ValueError(
            f"model {_kind(first)}: a LightningModule trains by its own training_step and "
            "optimisers, which would be passed over; give the network inside it, or train it by "
            "its Trainer through trainer_bank."
        )
    for name, layer in _inner(first).named_modules():
        if isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params():
            where = f" (its layer {name!r})" if name else ""
            raise ValueError(
                f"model {_kind(first)}{where}: {type(layer).__name__} has no shape before it has "
                "seen data; give its input size."
            )
    _refuse_parameters(first, again, second, same_start)
    _warn_of_precision(first, task)
    kind, alone = _kind(first), trained_alone(model, recipe)
    dtype = task.train_x.dtype
    if alone:
        network, theta = evaluated(new_module(model, 0).to(dtype))
    else:
        network, theta = Network.of(model), initial_theta(model, 0, dtype)
    _try_outputs(kind, network, theta, task)
    _refuse_constant(kind, network, theta, task)
    _warn_of_unused(kind, network, theta, task)
    if recipe is None:
        return network
    if "batch norm" in alone:
        _refuse_small_batches(kind, recipe, task)
    if alone:
        _try_alone(model, recipe, task)
    else:
        _try_training(kind, model, recipe, task, chunk)
    return network


def trained_alone(model: Model, recipe: Recipe | None = None) -> str:
    """Why runs of an adapted model are trained one at a time, in a few words; "" if they are not.

    Args:
        model: From `adapted`.
        recipe: How it is trained.
    """
    module = new_module(model)
    if any(True for _ in module.parameters()) and (why := why_alone(module)):
        return why
    return "clipping, warm-up or Nesterov's momentum" if isinstance(recipe, LoopRecipe) else ""


def why_refused(
    model: Model,
    task: Task,
    recipe: Recipe | None = None,
    *,
    chunk: int | None = None,
    same_start: bool = False,
) -> str:
    """The sentence with which `check_model` refuses a model, or "accepted".

    Args:
        model, task, recipe, chunk, same_start: As for `check_model`.
    """
    try:
        check_model(model, task, recipe, chunk=chunk, same_start=same_start)
    except ValueError as refusal:
        return str(refusal)
    return "accepted"


def _inner(module: nn.Module) -> nn.Module:
    """The owner's module."""
    return module.inner if isinstance(module, Adapted) else module


def _kind(module: nn.Module) -> str:
    return type(_inner(module)).__name__


def _refuse_swapped(task: Task, model: Model, recipe: Recipe | None) -> None:
    """Refuse arguments that are something else, before anything fails inside."""
    wanted = (
        ("task", task, isinstance(task, Task), "a Task, such as as_task returns"),
        ("model", model, callable(model), "a class or function that returns a new nn.Module"),
        (
            "recipe",
            recipe,
            recipe is None or isinstance(recipe, Recipe),
            "a Recipe, such as Recipe('sgd', lr=0.1), or get_recipe(name)",
        ),
    )
    for name, given, fits, what in wanted:
        if not fits:
            raise ValueError(f"{name} is {short(given)}; give {what}.")


def _refuse_parameters(
    first: nn.Module, again: nn.Module, second: nn.Module, same_start: bool
) -> None:
    """`first` and `again` come from the same factory under one seed, `second` under another."""
    kind, others = _kind(first), dict(second.named_parameters())
    if first is second:
        raise ValueError(
            f"model {kind}: its factory returns one and the same network at each call; build a new "
            "one inside it."
        )
    shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"model {kind}: two calls of its factory gave different parameters; fix its shape."
        )
    for name, parameter in first.named_parameters():
        if parameter.requires_grad and not parameter.is_floating_point():
            raise ValueError(
                f"model {kind}: parameter {name!r} is {parameter.dtype}; trained parameters must "
                "be real numbers in floating point."
            )
        if not parameter.requires_grad and not torch.equal(parameter, others[name]):
            raise ValueError(
                f"model {kind}: the frozen parameter {name!r} is drawn anew at each call of the "
                "factory, which no run remembers; give it fixed values or train it."
            )
    if not _alike(first, again):
        raise ValueError(
            f"model {kind}: two calls of its factory under one seed gave different initial "
            "weights, which no run remembers; draw them by torch alone, not by NumPy or random."
        )
    if not same_start and _alike(first, second):
        raise ValueError(
            f"model {kind}: two seeds gave the same initial weights, so its laws would be over "
            "batch order alone; set no seed and load no weights in the factory, or pass "
            "same_start=True if that is meant, as in fine-tuning from one checkpoint."
        )


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules of one shape have the same trainable parameters."""
    pairs = zip(one.parameters(), other.parameters())
    return all(torch.equal(p, q) for p, q in pairs if p.requires_grad)


def randomness(model: Model) -> str:
    """What differs between two seeds: "initial weights and batch order", or the latter alone; with
    dropout its masks as well."""
    first = new_module(model, 0)
    alike = _alike(first, new_module(model, 1))
    if "dropout" in why_alone(first):
        return f"{'' if alike else 'initial weights, '}batch order and dropout"
    return "batch order alone" if alike else "initial weights and batch order"


def _warn_of_precision(module: nn.Module, task: Task) -> None:
    dtypes = {p.dtype for p in module.parameters() if p.requires_grad} - {task.train_x.dtype}
    if dtypes:
        warnings.warn(
            f"model {_kind(module)}: its weights are {min(map(str, dtypes))}, but it trains in "
            f"{task.train_x.dtype}, the precision of the task.",
            stacklevel=4,
        )


def _try_outputs(kind: str, network: Network, theta: Tensor, task: Task) -> None:
    """Refuse outputs of a wrong shape, random ones, and ones that depend on other examples."""
    x = torch.cat([task.train_x[:TRIED], task.query_x[:TRIED]])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            together = network(theta, x)
        except (
            RuntimeError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            AssertionError,
        ) as error:
            raise ValueError(
                f"model {kind}: it cannot take inputs of shape {tuple(x.shape)} ({_first(error)}); "
                f"{_cure_of_inputs(error)}."
            ) from error
        expected = (len(x), task.n_outputs)
        if not isinstance(together, Tensor) or tuple(together.shape) != expected:
            shape = tuple(together.shape) if isinstance(together, Tensor) else type(together)
            raise ValueError(
                f"model {kind}: its output for {len(x)} examples is {shape}, not {expected}; "
                f"{_cure_of_outputs(shape, task)}."
            )
        again = network(theta, x)
        try:
            alone = torch.cat([network(theta, one) for one in x.split(1)])
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"model {kind}: it cannot take one example alone ({_first(error)}); if that is a "
                "norm, let it see several values of each example."
            ) from error
    if not _same(together, again):
        raise ValueError(
            f"model {kind}: two passes over the same examples differ, so it draws random numbers "
            "(as dropout does) or keeps a state; no seed of a run fixes either: take that out."
        )
    if not _same(together, alone):
        raise ValueError(
            f"model {kind}: its output for an example depends on the others in the batch, so a "
            "removed point would still act; let each example be treated alone."
        )


def _cure_of_inputs(error: Exception) -> str:
    if "indices" in str(error) and "Long" in str(error):
        return "as token ids are whole numbers, pass whole=True to as_task"
    return "fit its first layer to the data"


def _cure_of_outputs(shape: tuple[int, ...] | type, task: Task) -> str:
    """What to do about outputs of a wrong shape."""
    if isinstance(shape, tuple) and len(shape) == 2:
        if task.classes and shape[1] == 1 and task.n_outputs == 2:
            return (
                "give two outputs for two classes, or pass loss='squared_error' to as_task to "
                "regress the numbers"
            )
        if task.classes and shape[1] == 1:
            return "pass loss='squared_error' to as_task, if the targets are numbers to regress"
        if not task.classes:
            return "pass loss='cross_entropy' to as_task, if the targets are classes"
    if isinstance(shape, type):
        return "return a tensor, a dict with the entry 'logits' or an object with .logits"
    return "return one row of outputs for each example"


def _warn_of_unused(kind: str, network: Network, theta: Tensor, task: Task) -> None:
    """Say which parameters no output depends on, and outputs that are no logits."""
    x = torch.cat([task.train_x[:TRIED], task.query_x[:TRIED]])
    used = {name: False for name in network.layout.names}
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        moved = (theta + 0.1 * noise).detach().requires_grad_()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            try:
                outputs = network(moved, x)
                (found,) = torch.autograd.grad(outputs.square().sum(), moved)
            except RuntimeError:
                return
        for name, one in network.layout.unflatten(found).items():
            used[name] |= bool((one != 0).any())
    unused = [name for name, is_used in used.items() if not is_used]
    if unused:
        sizes = dict(zip(network.layout.names, network.layout.sizes))
        share = sum(sizes[name] for name in unused) / len(theta)
        warnings.warn(
            f"model {kind}: no output depends on {unused[0].removeprefix('inner.')!r}"
            f"{f' and {len(unused) - 1} more' if len(unused) > 1 else ''} ({share:.0%} of the "
            "parameters); take them out, or curvature has directions without any.",
            stacklevel=4,
        )
    sums = outputs.detach().sum(dim=1)
    if task.classes and (outputs >= 0).all() and torch.allclose(sums, torch.ones_like(sums)):
        warnings.warn(
            f"model {kind}: its outputs are probabilities, but cross-entropy takes logits; leave "
            "the softmax out.",
            stacklevel=4,
        )


def _refuse_small_batches(kind: str, recipe: Recipe, task: Task) -> None:
    """Refuse batches of which less than two examples may be left when one is taken out."""
    size = min(recipe.batch_size, task.n_train)
    last = task.n_train % size or size
    if min(size, last) < 3:
        raise ValueError(
            f"model {kind}: batch norm needs two examples in a batch besides one that is left out, "
            f"but a batch of {task.n_train} points by {size} has {min(size, last)}; choose another "
            "batch_size."
        )


def few_points(task: Task) -> Task:
    """The task of the first points and queries alone."""
    parts = ("train_x", "train_y", "query_x", "query_y", "train_id", "query_id")
    return replace(task, **{p: getattr(task, p)[:TRIED] for p in parts})


def _try_alone(model: Model, recipe: Recipe, task: Task) -> None:
    """One run of one epoch on a few points, by the loop."""
    short = replace(recipe, epochs=1, keep_last=1, warm_epochs=0, batch_size=TRIED)
    weights = torch.ones(1, min(TRIED, task.n_train))
    try:
        train_alone(few_points(task), model, short, [0], [0], weights, [query_loss])
    except RuntimeError as error:
        raise ValueError(f"{_first(error)}.") from error


def _refuse_constant(kind: str, network: Network, theta: Tensor, task: Task) -> None:
    """Refuse a network that does not look at its input, as after a norm over one value.

    Looked at away from the start, where a last layer of zeros would be constant as well.
    """
    x = torch.cat([task.train_x[:TRIED], task.query_x[:TRIED]])
    if (x == x[:1]).all():
        return
    generator = torch.Generator().manual_seed(0)
    moved = theta + 0.1 * torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        outputs = network(moved, x)
    if _same(outputs, outputs[:1].expand_as(outputs)):
        raise ValueError(
            f"model {kind}: different inputs give the same output, so no training point could "
            "matter for one query more than for another; look for a norm over a single value."
        )


def _same(one: Tensor, other: Tensor) -> bool:
    scale = float(one.abs().max()) + 1e-12
    return one.shape == other.shape and float((one - other).abs().max()) <= _CLOSE * scale


def _try_training(kind: str, model: Model, recipe: Recipe, task: Task, chunk: int | None) -> None:
    """One run and two stacked ones, as the engine trains them, for one epoch on a few points."""
    few = few_points(task)
    short = replace(recipe, epochs=1, keep_last=1, warm_epochs=0)
    # Convolutions are trained one by one on a CPU, so only the single run must work for them.
    alone = chunk == 1 or (chunk is None and Network.of(model).convolutional)
    stacks = (1,) if alone else (1, 2)
    for runs in stacks:
        weights = torch.ones(runs, few.n_train)
        try:
            train(few, model, short, [0] * runs, [0] * runs, weights, [query_loss], chunk=runs)
        except (RuntimeError, NotImplementedError) as error:
            able = "; it can be trained alone: pass chunk=1" if runs > 1 else ""
            stacked = "stacked runs" if runs > 1 else "torch.func"
            why = _first(error.__cause__ or error)
            raise ValueError(
                f"model {kind}: {stacked} cannot differentiate it ({why}){able}."
            ) from error


def _first(error: Exception) -> str:
    """The first line of a message, without its final stop."""
    return str(error).strip().partition("\n")[0].rstrip(". ")[:160]
