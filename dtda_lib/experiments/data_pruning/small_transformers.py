"""Small vision transformers of torchvision, trained from scratch and made to run in the engine.

The classes are torchvision's own (`VisionTransformer`, `SwinTransformer`), at sizes that train
hundreds of times. Some things are changed, none of which changes what is computed:

* attention of the ViT is written out, because the fused one has no rule for vmap or jvp
  (`lora.LoraAttention`, here without any low-rank addition);
* patches are cut by a reshape and embedded by a linear layer instead of a strided convolution, so
  that many runs can be stacked on a CPU;
* Swin's tables of relative positions are constants instead of buffers, which the engine refuses
  because training may change buffers in general; these it does not.

Swin's pooling at the end is written as a mean, for which vmap has a rule. There is no dropout and
no stochastic depth: initialisation and batch order stay the only sources of
noise.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from dtda_lib.data.sources import import_torchvision
from dtda_lib.models.lora import LoraAttention
from dtda_lib.models.networks import Model, ModelFactory, Network
from dtda_lib.models.vision_transformer import VitConfig, bare_transformer


class PatchEmbedding(nn.Module):
    """Images `(B, channel, row, col)` cut into squares and embedded, `(B, width, row', col')`.

    The same function as a convolution of kernel and stride `size`; initialised like torchvision's,
    normal with variance 1 / fan-in, cut at two units, and no bias.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(channels * size * size, width)
        nn.init.trunc_normal_(self.linear.weight, std=math.sqrt(1 / self.linear.in_features))
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        # (B, C, H, W) -> (B, C, H / s, s, W / s, s) -> (B, H / s, W / s, C, s, s)
        squares = x.unflatten(3, (-1, self.size)).unflatten(2, (-1, self.size))
        squares = squares.permute(0, 2, 4, 1, 3, 5).flatten(3)  # -> (B, H / s, W / s, C * s * s)
        return self.linear(squares).permute(0, 3, 1, 2)  # -> (B, width, H / s, W / s)


class SmallViT(nn.Module):
    """torchvision's `VisionTransformer` from scratch: images `(B, channel, H, W)` to logits.

    Args:
        config: Its size; the images have this size, and are not normalised here.
        channels: Colours of the images.
        classes: Outputs.
    """

    def __init__(self, config: VitConfig, channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.vit = bare_transformer(config, classes)
        self.vit.conv_proj = PatchEmbedding(channels, config.patch_size, config.width)
        for block in self.vit.encoder.layers:
            block.self_attention = LoraAttention(block.self_attention, 1, 1.0, ())
        # torchvision begins the head with zeros, and runs would not differ by it.
        nn.init.trunc_normal_(self.vit.heads.head.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.vit(x)


class SpatialMean(nn.Module):
    """Mean over rows and columns, `(B, width, row, col)` -> `(B, width)`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class SmallSwin(nn.Module):
    """torchvision's `SwinTransformer` from scratch: images `(B, channel, H, W)` to logits.

    Args:
        patch_size, window_size: Sides of the squares, in pixels and in patches.
        width: Of the first stage; each further stage halves rows and columns and doubles it.
        depths, heads: Blocks and attention heads of each stage.
        channels, classes: Colours and outputs.
    """

    def __init__(
        self,
        patch_size: int = 2,
        window_size: int = 4,
        width: int = 32,
        depths: Sequence[int] = (2, 2),
        heads: Sequence[int] = (2, 4),
        channels: int = 3,
        classes: int = 10,
    ) -> None:
        super().__init__()
        import_torchvision()
        from torchvision.models.swin_transformer import SwinTransformer

        self.swin = SwinTransformer(
            [patch_size] * 2,
            width,
            list(depths),
            list(heads),
            [window_size] * 2,
            mlp_ratio=2.0,
            stochastic_depth_prob=0.0,
            num_classes=classes,
        )
        self.swin.features[0][0] = PatchEmbedding(channels, patch_size, width)
        self.swin.avgpool = SpatialMean()
        for module in self.swin.modules():
            for name, table in list(module.named_buffers(recurse=False)):
                delattr(module, name)
                setattr(module, name, nn.Parameter(table, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.swin(x)


def small_vit(config: VitConfig, channels: int = 1, classes: int = 10) -> Model:
    """A factory of `SmallViT`, checked here before anything trains."""
    return _checked(ModelFactory(SmallViT, config, channels, classes))


def small_swin(**settings: object) -> Model:
    """A factory of `SmallSwin` with its settings, checked here before anything trains."""
    return _checked(ModelFactory(SmallSwin, **settings))


def _checked(model: Model) -> Model:
    Network.of(model)
    return model
