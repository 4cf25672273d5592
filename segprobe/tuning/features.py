"""Features that are computed when they are asked for, because the network that makes them is changing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from labelgen.nets.geometry import Geometry, resize_image
from segprobe.batches import check_size
from segprobe.features.layout import View
from segprobe.features.sources import Images
from segprobe.labels import LabelSet
from segprobe.tuning.network import TunedNetwork

__all__ = ["ComputedTokens", "PictureFeatures", "check_picture_sizes"]

LEAST_DEVIATION = 0.05  # of the mean one: a channel that is silent now may wake up while the network is trained
STATISTICS_IMAGES = 256  # a quarter of a million tokens: mean and deviation are known to a fraction of a per cent
KEPT_BYTES = 4 << 30  # of decoded and resized images


@dataclass(frozen=True)
class ComputedTokens:
    """Tokens of one view of one image; on the device of the network and with gradients inside a batch."""

    tokens: Float[Tensor, "h w D"]
    geometry: Geometry


class PictureFeatures:
    """Tokens of the images of a data set through a network, in the place of a `FeatureCache`.

    Images are kept in memory as they come out of the resizing, up to `KEPT_BYTES`.

    Parameters
    ----------
    dataset
        The images.
    ids
        Those that mean and standard deviation are taken from, evenly spread ones when there are many.
    network
        As it is now; mean and standard deviation are those of its untuned tokens. The decoder of a baseline begins at
        random, so that its features have nothing to be standardised by: there they are 0 and 1.
    views
        Ways to show an image.
    """

    def __init__(self, dataset: Images, ids: Sequence[str], network: TunedNetwork, views: Sequence[View]) -> None:
        self.dataset = dataset
        self.network = network
        self.views = tuple(views)
        self._kept: dict[tuple[str, float], tuple[tuple[int, int], UInt8[np.ndarray, "H W 3"]]] = {}
        self._bytes = 0
        self._now: dict[tuple[str, int], ComputedTokens] = {}
        if network.config.baseline:
            dim = network.backbone.spec.dim
            self.mean, self.std = np.zeros(dim, np.float32), np.ones(dim, np.float32)
            return
        ordered = sorted(ids)
        count = min(len(ordered), STATISTICS_IMAGES)
        self.mean, self.std = self._statistics([ordered[number * len(ordered) // count] for number in range(count)])

    def features(self, sample_id: str, view_index: int) -> ComputedTokens:
        """Tokens of one view of one image: those of the batch at hand, else computed now, without gradients."""
        found = self._now.get((sample_id, view_index))
        if found is not None:
            return found
        picture, geometry = self.picture(sample_id, view_index)
        with torch.no_grad():
            return ComputedTokens(self.network.tokens(picture[None])[0].cpu(), geometry)

    def geometry(self, sample_id: str, view_index: int) -> Geometry:
        """Where the pixels of a view go, without running the network."""
        view = self.views[view_index]
        size, _ = self._resized(sample_id, view.scale)
        return self.network.backbone.geometry(size, scale=view.scale, flip=view.flip)

    def picture(self, sample_id: str, view_index: int) -> tuple[Float32[Tensor, "channels height width"], Geometry]:
        """What the network sees of one view of one image."""
        geometry = self.geometry(sample_id, view_index)
        _, resized = self._resized(sample_id, self.views[view_index].scale)
        return self.network.backbone.picture(resized, geometry), geometry

    @contextmanager
    def computed(self, chosen: Sequence[tuple[str, int]], rngs: Sequence[np.random.Generator] = ()) -> Iterator[None]:
        """Run the images of a batch through the network, those of one shape together; inside, `features` finds them.

        Parameters
        ----------
        chosen
            Ids and views.
        rngs
            One for each, for the random parts of the network.
        """
        shapes: dict[tuple[int, ...], list[int]] = {}
        pictures = [self.picture(sample_id, view) for sample_id, view in chosen]
        for number, (picture, _) in enumerate(pictures):
            shapes.setdefault(tuple(picture.shape), []).append(number)
        for members in shapes.values():
            tokens = self.network.tokens(
                torch.stack([pictures[number][0] for number in members]),
                [rngs[number] for number in members] if rngs else (),
            )
            for number, grid in zip(members, tokens, strict=True):
                self._now[chosen[number]] = ComputedTokens(grid, pictures[number][1])
        try:
            yield
        finally:
            self._now.clear()

    def _resized(self, sample_id: str, scale: float) -> tuple[tuple[int, int], UInt8[np.ndarray, "H W 3"]]:
        """Size of an image, and its pixels at a scale."""
        if (sample_id, scale) in self._kept:
            return self._kept[sample_id, scale]
        image = self.dataset.image(sample_id)
        size = image.shape[0], image.shape[1]
        resized = resize_image(image, self.network.backbone.geometry(size, scale=scale).resized)
        if self._bytes + resized.nbytes <= KEPT_BYTES:
            self._kept[sample_id, scale] = size, resized
            self._bytes += resized.nbytes
        return size, resized

    def _statistics(self, ids: Sequence[str]) -> tuple[Float32[np.ndarray, "D"], Float32[np.ndarray, "D"]]:
        """Mean and standard deviation of the tokens of the first views."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for sample_id in ids:
            rows = self.features(sample_id, 0).tokens.flatten(0, 1).double()
            count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        least = LEAST_DEVIATION * deviation.mean()
        return mean.float().numpy(), deviation.clamp_min(least).float().numpy()


def check_picture_sizes(labels: LabelSet, features: PictureFeatures) -> None:
    """Refuse labels of another size than their images, without running the network.

    Raises
    ------
    ShapeError
        Naming the first image.
    """
    for sample_id in labels.ids:
        check_size(labels, sample_id, features.geometry(sample_id, 0))
