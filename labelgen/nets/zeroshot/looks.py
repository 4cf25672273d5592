"""How each method looks at an image: networks, views and comparison bound into one function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from labelgen.nets.backbones import Backbone
from labelgen.nets.clip.model import ClipModel
from labelgen.nets.dense_clip import feature_surgery, feature_surgery_alone, patch_embeddings, tower_of
from labelgen.nets.geometry import fitted_size, resize_image
from labelgen.nets.zeroseg.lite import SEGMENTS, zeroseg_lite
from labelgen.nets.zeroseg.tiles import tile_boxes, tiles_of
from labelgen.nets.zeroshot.labeller import Look
from labelgen.nets.zeroshot.similarity import Encode, ScoreMaps
from labelgen.nets.zeroshot.views import (
    LONGEST_SIDE,
    Compare,
    Windows,
    cosine_scores,
    grid_maps,
    tile_maps,
    window_maps,
)

__all__ = ["Networks", "external_features", "look_for", "tile_vectors", "whole_vector"]

LITE_GRIDS = (2, 3, 4)  # local tiles of ZeroSeg's teacher


@dataclass(frozen=True, eq=False)
class Networks:
    """What a method needs besides prompts.

    Parameters
    ----------
    clip
        The image-text model.
    external
        The other backbone of `proxy` and `zeroseg-lite`.
    options
        Keywords of `patch_embeddings` (std, beta, gamma, depth).
    segments
        Of `zeroseg-lite`.
    """

    clip: ClipModel
    external: Backbone | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    segments: int = SEGMENTS


def look_for(method: str, networks: Networks, windows: Windows) -> Look:
    """The look of a method.

    Raises
    ------
    ConfigError
        When the image tower is none that the method understands.
    """
    if method == "tiles":
        return _tiles_look(networks, windows)
    patch = tower_of(networks.clip.model).patch
    if method == "zeroseg-lite":
        return _lite_look(networks, windows)
    if method == "surgery":
        return _surgery_look(networks, windows, patch)
    encode = _encoder(method, networks, patch)

    def look(image: np.ndarray, prototypes: torch.Tensor, rng: np.random.Generator) -> ScoreMaps:
        return window_maps(image, encode, cosine_scores(prototypes), windows, patch=patch)

    return look


def whole_vector(clip: ClipModel) -> Callable[[UInt8[np.ndarray, "H W 3"]], Float32[torch.Tensor, "D"]]:
    """The unit vector of a whole image, squashed to the native size so that nothing of it is cut off."""

    def embed(image: np.ndarray) -> torch.Tensor:
        return tile_vectors(clip, image[None])[0]

    return embed


def tile_vectors(
    clip: ClipModel, crops: UInt8[np.ndarray, "B h w 3"], *, batch: int = 0
) -> Float32[torch.Tensor, "B D"]:
    """Unit vectors of pictures, each resized to the native size.

    Parameters
    ----------
    batch
        Pictures that go through the network together; 0 for all.
    """
    native = np.stack([resize_image(crop, clip.native_size) for crop in crops])
    parts = [native[start : start + (batch or len(native))] for start in range(0, len(native), batch or len(native))]
    return torch.cat([clip.encode_images(clip.normalise(part)) for part in parts])


def _encoder(method: str, networks: Networks, patch: int) -> Encode:
    clip, external = networks.clip, networks.external

    def encode(crops: np.ndarray) -> torch.Tensor:
        features = external_features(external, crops, patch=patch) if method == "proxy" and external else None
        return patch_embeddings(
            clip.model, clip.normalise(crops), method=method, external=features, **dict(networks.options)
        )

    return encode


def external_features(
    backbone: Backbone, crops: UInt8[np.ndarray, "B H W 3"], *, patch: int
) -> Float32[torch.Tensor, "B h w E"]:
    """Tokens of another backbone over the area that the patches of the image tower cover.

    Pictures are extended at the right and at the bottom to whole patches of the image tower, and then resized to the
    nearest multiple of the backbone's own patches, so that both grids cover the same.
    """
    height, width = (-length % patch for length in crops.shape[1:3])
    padded = np.pad(crops, ((0, 0), (0, height), (0, width), (0, 0)), mode="edge")
    multiple = backbone.spec.multiple
    fitted = tuple(max(1, round(length / multiple)) * multiple for length in padded.shape[1:3])
    pictures = [backbone.prepare(resize_image(crop, (fitted[0], fitted[1])))[0] for crop in padded]
    return backbone.tokens(torch.stack(pictures))


def _tiles_look(networks: Networks, windows: Windows) -> Look:
    clip = networks.clip

    def look(image: np.ndarray, prototypes: torch.Tensor, rng: np.random.Generator) -> ScoreMaps:
        return tile_maps(image, lambda crops: tile_vectors(clip, crops), cosine_scores(prototypes), windows)

    return look


def _surgery_look(networks: Networks, windows: Windows, patch: int) -> Look:
    """Scores less what all prompts share; the weights of prompts come from the image as a whole."""
    clip, encode = networks.clip, _encoder("surgery", networks, patch)
    embed = whole_vector(clip)

    def look(image: np.ndarray, prototypes: torch.Tensor, rng: np.random.Generator) -> ScoreMaps:
        if len(prototypes) > 1:
            vector = embed(image)

            def compare(features: torch.Tensor) -> torch.Tensor:
                return torch.movedim(feature_surgery(features, vector, prototypes), -1, 0)

            return window_maps(image, encode, compare, windows, patch=patch)
        return window_maps(image, encode, _alone(prototypes, clip), windows, patch=patch)

    return look


def _alone(prototypes: torch.Tensor, clip: ClipModel) -> Compare:
    empty = clip.encode_text([""])[0].to(prototypes.device)

    def compare(features: torch.Tensor) -> torch.Tensor:
        return feature_surgery_alone(features, prototypes[0], empty)[None]

    return compare


def _lite_look(networks: Networks, windows: Windows) -> Look:
    clip, external = networks.clip, networks.external
    assert external is not None
    patch = tower_of(clip.model).patch
    encode = _encoder("naclip", networks, patch)

    def one_view(image: np.ndarray, prototypes: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        size = image.shape[0], image.shape[1]
        pixels = resize_image(image, fitted_size(size, policy="keep", side=windows.short_side, max_side=LONGEST_SIDE))
        grids = tuple(parts for parts in LITE_GRIDS if parts <= min(pixels.shape[:2])) or (1,)
        tiles = tile_vectors(clip, tiles_of(pixels, grids, size=clip.native_size), batch=windows.batch)
        height, width = pixels.shape[:2]
        scores = zeroseg_lite(
            external_features(external, pixels[None], patch=patch)[0].cpu().numpy(),
            encode(pixels[None])[0].cpu().numpy(),
            tiles.cpu().numpy(),
            tile_boxes((height, width), grids) / np.array([height, width, height, width]),
            prototypes.cpu().numpy(),
            rng=rng,
            segments=networks.segments,
        )
        return torch.from_numpy(scores).to(prototypes.device)

    def look(image: np.ndarray, prototypes: torch.Tensor, rng: np.random.Generator) -> ScoreMaps:
        size = image.shape[0], image.shape[1]
        maps = grid_maps(one_view(image, prototypes, rng), size=size)
        if not windows.flip:
            return maps
        mirrored = grid_maps(one_view(np.ascontiguousarray(image[:, ::-1]), prototypes, rng), size=size)
        return ScoreMaps((*maps.terms, *(term.mirrored() for term in mirrored.terms)))

    return look
