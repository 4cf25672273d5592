"""Turn the MobileNetV2 tensors of the shared data folder into a timm checkpoint, and show that they still classify.

The folder holds a MobileNetV2 1.0 224 whose batch norms are folded into its convolutions (c00 ... c52, network
order). timm keeps the batch norms, so each becomes the identity: weight sqrt(1 + eps), bias the folded bias.
Parity: a second forward pass, written here with plain convolutions and TensorFlow's SAME padding, must name the same
top-1 class on real images (expected: all of them; about a minute on two cores).

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out mobilenetv2.safetensors
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

STRIDE_TWO = {0, 4, 10, 19, 40}  # index of each convolution that halves the grid
TIMM_NAME = "mobilenetv2_100"
TIMM_ARGUMENTS = {"pad_type": "same"}
NUM_CLASSES = 1001


def timm_state(folded: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names and tensors of timm's `mobilenetv2_100` for the folded convolutions."""
    model = timm.create_model(TIMM_NAME, num_classes=NUM_CLASSES, **TIMM_ARGUMENTS)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for index, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
            convolution.weight.copy_(folded[f"c{index:02d}.weight"])
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0)
            norm.weight.fill_((1.0 + norm.eps) ** 0.5)
            norm.bias.copy_(folded[f"c{index:02d}.bias"])
        last = len(convolutions)
        model.classifier.weight.copy_(folded[f"c{last:02d}.weight"].flatten(1))
        model.classifier.bias.copy_(folded[f"c{last:02d}.bias"])
    return model.state_dict()


def same_padding(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Pad as TensorFlow's SAME does: the odd pixel goes right and below."""
    amounts = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:]]
    (top, bottom), (left, right) = ((a // 2, a - a // 2) for a in amounts)
    return F.pad(x, (left, right, top, bottom))


def plain_logits(folded: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Forward pass without timm: logits of shape (B, 1001) for images in [-1, 1]."""

    def convolve(x, index, *, relu):
        weight, bias = folded[f"c{index:02d}.weight"], folded[f"c{index:02d}.bias"]
        stride = 2 if index in STRIDE_TWO else 1
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        x = F.conv2d(same_padding(x, weight.shape[-1], stride), weight, bias, stride=stride, groups=groups)
        return x.clamp(0, 6) if relu else x

    x = convolve(x, 0, relu=True)
    x = convolve(convolve(x, 1, relu=True), 2, relu=False)
    for first in range(3, 51, 3):
        y = convolve(convolve(convolve(x, first, relu=True), first + 1, relu=True), first + 2, relu=False)
        x = x + y if x.shape == y.shape else y
    x = convolve(x, 51, relu=True).mean((2, 3), keepdim=True)
    return convolve(x, 52, relu=False).flatten(1)


def pixels(path: Path) -> torch.Tensor:
    """Centre crop of 224 pixels, scaled to [-1, 1], shape (1, 3, 224, 224)."""
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
    scale = 256 / min(picture.size)
    resized = picture.resize([round(n * scale) for n in picture.size], Image.Resampling.BILINEAR)
    left, top = ((n - 224) // 2 for n in resized.size)
    array = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32)
    return torch.from_numpy(array / 127.5 - 1).permute(2, 0, 1)[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--out", type=Path, required=True, help="the timm checkpoint to write")
    parser.add_argument("--images", type=int, default=74, help="how many real images to compare on")
    options = parser.parse_args()
    source = next((options.data / "mobilenetv2-imagenet").glob("*.safetensors"))
    names = (options.data / "mobilenetv2-imagenet" / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    folded = {name: tensor.float() for name, tensor in load_file(source).items()}
    state = timm_state(folded)
    about = {"model": TIMM_NAME, "timm_kwargs": TIMM_ARGUMENTS, "mean": [0.5] * 3, "std": [0.5] * 3}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in state.items()}, options.out, metadata={"labelgen": json.dumps(about)})

    model = timm.create_model(TIMM_NAME, num_classes=NUM_CLASSES, **TIMM_ARGUMENTS)
    model.load_state_dict(load_file(options.out), strict=True)
    model.eval()
    paths = sorted((options.data / "voc2012-animals" / "JPEGImages").glob("*.jpg"))[: options.images]
    agree, largest = 0, 0.0
    with torch.inference_mode():
        for path in paths:
            x = pixels(path)
            ours, plain = model(x), plain_logits(folded, x)
            agree += int(ours.argmax() == plain.argmax())
            largest = max(largest, float((ours - plain).abs().max()))
            print(f"{path.stem}: {names[int(ours.argmax())]}")
    print(f"top-1 agrees on {agree} of {len(paths)} images; largest difference of a logit {largest:.2e}")
    print(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
