"""`segprobe tokens [IMAGE ...]`: the shape prior of a frozen backbone, to be seen."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labelgen.commands.common import JsonFlag, print_json, say
from labelgen.data.dataset import DataSpec
from labelgen.errors import RunFolderError
from segprobe.commands.flags import BackboneFlags

__all__ = ["tokens"]

DEMO_SCENES = 4  # drawn when no image is named


def tokens(
    *images: str,
    clusters: Annotated[int, Parameter(name=["--clusters", "-k"])] = 6,
    out: str = "tokens.png",
    seed: int = 0,
    device: str = "auto",
    as_json: JsonFlag = False,
    backbone: Annotated[BackboneFlags | None, Parameter(name="*", group="Backbone")] = None,
) -> None:
    """Draw k-means clusters and principal components of the frozen tokens beside each image.

    No label is used: what shows is what the backbone knows by itself. Both are computed over all images together.

    Parameters
    ----------
    images
        Image files. Default: a few demo scenes.
    clusters
        Number of clusters, 2 to 20.
    out
        PNG file to write.
    seed
        Of k-means.
    device
        cpu, cuda, or auto for a GPU where there is one.

    Examples
    --------
    segprobe tokens
    segprobe tokens dog.jpg street.jpg --clusters 8 --out tokens.png
    """
    import numpy as np
    from PIL import Image

    from labelgen.masks import read_image
    from labelgen.nets.backbones import load_backbone
    from segprobe.tokens import contact_sheet, token_panels

    config = (backbone or BackboneFlags()).config(DataSpec("folder" if images else "demo"))
    pictures = [read_image(Path(image)) for image in images] or _demo_images()
    network = load_backbone(config, device=device)
    panels = token_panels(pictures, network, k=clusters, rng=np.random.default_rng(seed))
    height, width = network.prepare(pictures[0])[1].grid
    title = f"{network.spec.name}: {height} x {width} frozen tokens of {network.spec.dim} channels, no labels"
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(contact_sheet(panels, title=title)).save(path, format="PNG")
    except OSError as error:
        raise RunFolderError(f"the picture cannot be written to {path}: {error}", hint="give another --out") from error
    if as_json:
        facts = {"pictures": len(pictures), "backbone": network.spec.name, "grid": [height, width]}
        print_json({"out": path.as_posix(), **facts, "channels": network.spec.dim, "clusters": clusters})
    else:
        say(f"wrote {path}")


def _demo_images() -> list:
    from labelgen.data.open import open_data

    scenes = open_data("demo", split="val", limit=DEMO_SCENES)
    return [scenes.image(sample_id) for sample_id in scenes.ids]
