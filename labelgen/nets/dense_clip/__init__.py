"""Dense image embeddings from the image tower of a CLIP model: pure functions that never change the model.

`names` lists the methods and needs no torch; `patch_embeddings` is the function to call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelgen.nets.dense_clip.dense import patch_embeddings
    from labelgen.nets.dense_clip.redundancy import feature_surgery, feature_surgery_alone
    from labelgen.nets.dense_clip.tower import Tower, tower_of

__all__ = [
    "Tower",
    "feature_surgery",
    "feature_surgery_alone",
    "patch_embeddings",
    "tower_of",
]

HOME = {
    "Tower": "tower",
    "tower_of": "tower",
    "patch_embeddings": "dense",
    "feature_surgery": "redundancy",
    "feature_surgery_alone": "redundancy",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for, so that `names` stays light."""
    if name not in HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{HOME[name]}"), name)
