"""Features of a frozen backbone, computed once and read many times.

A cache is a folder::

    manifest.json        the fingerprint: everything that changes a value (backbone, weights, layers, norm, views, data,
                         ids, type); with what it was computed; state: running | complete; mean and std per channel
    shard-00000.bin      tokens of 256 images (rows of D numbers), each matrix starting at a multiple of 4096 bytes
    shard-00000.json     index: id, view, geometry, offset, sha256 of the tokens and of the image, and channel sums
    shard-00000.done     sha256 of the two files, written last: a shard without it is made again

Which images a shard holds follows from the sorted ids alone, so that shards can be made by several processes, in any
order, and again after an interruption, with the same bytes. Values are exact for the same device, thread count and
batch size, all recorded; elsewhere they agree to the last bits of float16.
"""

from segprobe.features.build import build_cache, build_shards, cache_fingerprint, cache_name
from segprobe.features.cache import FeatureCache, Features
from segprobe.features.layout import View

__all__ = ["FeatureCache", "Features", "View", "build_cache", "build_shards", "cache_fingerprint", "cache_name"]
