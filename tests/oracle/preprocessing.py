"""What torchvision's Resize, CenterCrop, ToTensor and Normalize do to a Pillow image, in steps."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def resized_and_cropped(
    image: Image.Image, short_side: int, crop: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """Resize(short_side) then CenterCrop(crop = height, width), a small image on black."""
    width, height = image.size
    if width < height:
        size = (short_side, int(short_side * height / width))
    else:
        size = (int(short_side * width / height), short_side)
    image = image.resize(size, method)
    # CenterCrop pads a small image first, the odd pixel right and below, then cuts.
    pad_left = (crop[1] - size[0]) // 2 if crop[1] > size[0] else 0
    pad_top = (crop[0] - size[1]) // 2 if crop[0] > size[1] else 0
    canvas = Image.new(image.mode, (max(size[0], crop[1]), max(size[1], crop[0])))
    canvas.paste(image, (pad_left, pad_top))
    left = int(round((canvas.width - crop[1]) / 2.0))  # noqa: RUF046
    top = int(round((canvas.height - crop[0]) / 2.0))  # noqa: RUF046
    return canvas.crop((left, top, left + crop[1], top + crop[0]))


def normalised(image: Image.Image, mean: list[float], std: list[float]) -> Tensor:
    """ToTensor and Normalize, mean and std in units of 1; float32 [C, H, W]."""
    pixels = torch.from_numpy(np.array(image, copy=True))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    tensor = pixels.permute(2, 0, 1).to(torch.float32).div(255)
    return (tensor - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
