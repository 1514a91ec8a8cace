"""Random crops of images: boxes, and what lies in them resized.

The published ViT runs crop training *and* test images at random, anew at each access (2305.19765,
utils.py:248-254), so a score changes when nothing but the crop does. A crop here is a box
`(top, left, height, width)` in pixels, resized by two small matrix products: no loop over images,
the same under `vmap`, `grad` and `jvp`, and equal to torchvision's antialiased `resized_crop`.
"""

import math

import torch
from torch import Tensor

SCALE = (0.08, 1.0)  # share of the image's area; both are torchvision's defaults, as published
RATIO = (3 / 4, 4 / 3)  # width over height
_TRIES = 10  # torchvision's: then it gives up and takes the largest central box


def crop_boxes(
    n: int,
    height: int,
    width: int,
    generator: torch.Generator,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
) -> Tensor:
    """Boxes `(n, 4)` drawn like torchvision's `RandomResizedCrop.get_params`, int64 pixels.

    torchvision draws from the global stream, one image after the other; here all draws come from
    `generator`, so the law is the same and the values are not.

    Raises:
        ValueError: impossible sizes or ranges.
    """
    if min(n, height, width) < 1:
        raise ValueError(f"crops: {n} boxes of {height} x {width} pixels; each must be at least 1.")
    for name, (low, high) in (("scale", scale), ("ratio", ratio)):
        if not 0 < low <= high < math.inf:
            raise ValueError(f"crops: {name} is ({low}, {high}); give 0 < low <= high.")

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(
            *shape, generator=generator, dtype=torch.float64, device=generator.device
        )

    area = height * width * uniform(*scale, n, _TRIES)
    aspect = uniform(math.log(ratio[0]), math.log(ratio[1]), n, _TRIES).exp()
    wide, high = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()  # (n, try)
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # 0 where none fits, see below
    whole = torch.tensor(_largest_box(height, width, ratio), dtype=area.dtype, device=area.device)
    found = fits.any(dim=1)
    high = torch.where(found, high.gather(1, first)[:, 0], whole[0])
    wide = torch.where(found, wide.gather(1, first)[:, 0], whole[1])
    spare_rows, spare_columns = height - high, width - wide
    u, v = uniform(0, 1, 2, n)
    top = torch.where(found, (u * (spare_rows + 1)).floor(), (spare_rows / 2).floor())
    left = torch.where(found, (v * (spare_columns + 1)).floor(), (spare_columns / 2).floor())
    return torch.stack([top, left, high, wide], dim=1).long()


def _largest_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of torchvision's fallback: the whole image, trimmed to the ratios."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def resized_crops(x: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The part of each image inside its box, bilinearly resized to size x size (antialiased).

    Args:
        x: Images `(..., C, H, W)`.
        boxes: `(..., 4)` as of `crop_boxes`, one for each image, in whole pixels of `x`; leading
            axes are broadcast against those of `x`.
        size: Edge of the result in pixels.

    Returns:
        `(..., C, size, size)`.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"crops: size is {size} pixels; give at least 1.")
    top, left, high, wide = boxes.to(x.device, x.dtype).unbind(-1)
    rows = _interpolation(top, high, x.shape[-2], size)  # (..., size, H)
    columns = _interpolation(left, wide, x.shape[-1], size)  # (..., size, W)
    return rows.unsqueeze(-3) @ x @ columns.unsqueeze(-3).mT


def _interpolation(start: Tensor, length: Tensor, n_pixels: int, size: int) -> Tensor:
    """Weights `(..., size, n_pixels)` of each pixel of one axis in each pixel of the result.

    A triangle around the centre of the result's pixel, one source pixel wide where the crop is
    enlarged and one *result* pixel wide where it is reduced: PyTorch's
    `interpolate(mode="bilinear", antialias=True, align_corners=False)`.
    """
    step = (length / size).unsqueeze(-1)  # (..., 1): source pixels per result pixel
    result = torch.arange(size, dtype=start.dtype, device=start.device) + 0.5
    centre = (result * step).unsqueeze(-1)  # (..., size, 1), from the start of the crop
    pixel = torch.arange(n_pixels, dtype=start.dtype, device=start.device) + 0.5
    pixel = (pixel - start.unsqueeze(-1)).unsqueeze(-2)  # (..., 1, n_pixels)
    inside = (pixel > 0) & (pixel < length[..., None, None])
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1).unsqueeze(-1)).clamp(min=0) * inside
    return weight / weight.sum(dim=-1, keepdim=True)


def resize(x: Tensor, size: int) -> Tensor:
    """Whole images `(..., C, H, W)` resized to `(..., C, size, size)`: the fixed test "crop"."""
    if x.shape[-2:] == (size, size):
        return x
    height, width = x.shape[-2:]
    return resized_crops(x, torch.tensor([0, 0, height, width], device=x.device), size)


def normalised(x: Tensor, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Whole images `(B, 1 or 3, H, W)` from 0 to 1, as a transformer wants them.

    Args:
        x: Images; grey is repeated to three colours, other sizes are resized.
        size: Edge in pixels.
        mean, std: Of the colours, `(3, 1, 1)`.

    Returns:
        `(B, 3, size, size)`.

    Raises:
        ValueError: neither grey nor colour images.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"vision transformer: inputs have shape {tuple(x.shape)}; give images "
            "(image, channel, row, column) with 1 or 3 channels."
        )
    return (resize(x, size).expand(-1, 3, -1, -1) - mean) / std


def random_crops(
    x: Tensor,
    n_crops: int,
    size: int,
    scale: tuple[float, float] = SCALE,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`n_crops` random resized crops of each query `(query, C, H, W)`.

    Returns:
        `(crop, query, C, size, size)`; every entry has its own box.

    Raises:
        ValueError: no generator (nothing here draws from the global stream), see `crop_boxes`.
    """
    if generator is None:
        raise ValueError("crops: no generator was given; pass a seeded torch.Generator.")
    boxes = crop_boxes(n_crops * len(x), *x.shape[-2:], generator, scale)
    return resized_crops(x, boxes.unflatten(0, (n_crops, len(x))), size)
