"""The figures that the paper publishes, row by row, and the command that runs each row on PASCAL VOC 2012.

The paper states neither the size of its backbones nor resolution, schedule or post-processing, so that the commands are
this project's own protocol and their results are not expected to equal the figures.

References
----------
.. [1] Lee et al., a frozen self-supervised vision transformer for imperfect labels, 2024, arXiv 2401.12535; its tables.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LABELS", "NETWORKS", "PUBLISHED", "SOURCE", "Published", "label_commands"]

SOURCE = "arXiv 2401.12535"
SPLIT = "trainaug"  # ImageSets/Segmentation/trainaug.txt: the 10,582 images with the masks of SBD
TABLES = {
    "freezing": "frozen against tuned, SEAM masks",
    "supervision": "kinds of supervision",
    "noise": "masks of two methods, and full truth",
    "backbone": "self-supervised backbones, frozen",
}


@dataclass(frozen=True)
class Published:
    """One published figure: mIoU on PASCAL VOC 2012 val.

    Parameters
    ----------
    table
        Key of `TABLES`.
    supervision
        truth, scribble, point, seam, eps or vision-language.
    method
        As the paper calls it.
    network
        Row of `NETWORKS` that the command trains; empty where this project does not have the method.
    head, strategy
        As `segprobe compare` takes them; empty with the network.
    miou
        In per cent, as published.
    """

    table: str
    supervision: str
    method: str
    miou: float
    network: str = ""
    head: str = ""
    strategy: str = ""

    @property
    def source(self) -> str:
        """Where the figure is from."""
        return f"{SOURCE}, published"

    def command(self, *, voc: str = "VOC") -> str:
        """Command that trains and scores this row; empty where this project does not have the method.

        Parameters
        ----------
        voc
            Root of PASCAL VOC 2012.

        Examples
        --------
        >>> PUBLISHED[0].command()[:60]
        'segprobe compare runs/seam --data voc:VOC --split trainaug -'
        >>> Published("supervision", "scribble", "TEL", 77.6).command()
        ''
        """
        if not self.network:
            return ""
        run = "truth" if self.supervision == "truth" else f"runs/{self.supervision}"
        words = ["segprobe", "compare", run, "--data", f"voc:{voc}", "--split", SPLIT]
        words += ["--backbones", NETWORKS[self.network], "--heads", self.head, "--strategies", self.strategy]
        return shlex.join([*words, "--no-truth", "--out", "compare/paper"])


NETWORKS: Mapping[str, str] = {
    "dinov2": "vit_base_patch14_dinov2.lvd142m",
    "dinov1": "vit_base_patch16_224.dino",
    "ibot-l": "vit_large_patch16_224@ibot_vitl_16.pth",
    "ibot-l-22k": "vit_large_patch16_224@ibot_vitl_16_pt22k.pth",
    "resnet": "resnet101.a1_in1k",
    "mit": "mit_b5",
}
"""Networks as `segprobe compare --backbones` takes them, NAME or NAME@CHECKPOINT; their sizes are our own choice."""

LABELS: Mapping[str, tuple[str, ...]] = {
    "truth": (),
    "scribble": ("labelgen scribble voc:{voc} --split trainaug --from-xml SCRIBBLESUP --out runs/scribble",),
    "point": ("labelgen point voc:{voc} --split trainaug --from-json POINTS.json --out runs/point",),
    "seam": (
        "labelgen fit-cam voc:{voc} --split trainaug --method seam --out runs/seam-classifier",
        "labelgen cam voc:{voc} --split trainaug --method seam --weights runs/seam-classifier --refine walk"
        " --out runs/seam",
    ),
    "eps": (
        "labelgen fit-cam voc:{voc} --split trainaug --method eps --saliency SALIENCY --out runs/eps-classifier",
        "labelgen cam voc:{voc} --split trainaug --method eps --weights runs/eps-classifier --out runs/eps",
    ),
    "vision-language": ("labelgen clip voc:{voc} --split trainaug --preset naclip-voc21 --out runs/vision-language",),
}
"""Commands that make the labels of a row. SCRIBBLESUP is the folder of its XML files, POINTS.json the clicks of What's
the Point, SALIENCY a folder of maps."""


def label_commands(supervision: str, *, voc: str = "VOC") -> tuple[str, ...]:
    """Commands that make the labels of one kind of supervision, in their order.

    Examples
    --------
    >>> label_commands("point", voc="data/VOC2012")
    ('labelgen point voc:data/VOC2012 --split trainaug --from-json POINTS.json --out runs/point',)
    """
    return tuple(command.format(voc=shlex.quote(voc)) for command in LABELS[supervision])


def _frozen_and_tuned(method: str, network: str, head: str, frozen: float, tuned: float) -> tuple[Published, ...]:
    return (
        Published("freezing", "seam", method, frozen, network, head, "frozen"),
        Published("freezing", "seam", method, tuned, network, head, "tuned"),
    )


PUBLISHED: tuple[Published, ...] = (
    # first, so that a comparison of frozen with tuned finds two figures of one table
    *_frozen_and_tuned("DINOv2", "dinov2", "linear", 71.2, 64.5),
    *_frozen_and_tuned("DeepLabV1", "resnet", "deeplabv1", 64.6, 64.5),
    *_frozen_and_tuned("DeepLabV3+", "resnet", "deeplabv3plus", 61.7, 63.3),
    *_frozen_and_tuned("SegFormer", "mit", "segformer", 63.6, 65.2),
    Published("supervision", "scribble", "TEL", 77.6),
    Published("supervision", "scribble", "frozen DINOv2", 80.1, "dinov2", "linear", "frozen"),
    Published("supervision", "point", "TEL", 68.0),
    Published("supervision", "point", "frozen DINOv2", 73.6, "dinov2", "linear", "frozen"),
    Published("supervision", "seam", "ADELE", 69.3),
    Published("supervision", "seam", "SegFormer", 65.6, "mit", "segformer", "tuned"),
    Published("supervision", "seam", "frozen DINOv2", 71.2, "dinov2", "linear", "frozen"),
    Published("supervision", "vision-language", "SegFormer", 26.9, "mit", "segformer", "tuned"),
    Published("supervision", "vision-language", "frozen DINOv2", 38.4, "dinov2", "linear", "frozen"),
    Published("noise", "seam", "the masks themselves, train", 63.6),
    Published("noise", "eps", "the masks themselves, train", 69.4),
    Published("noise", "truth", "DeepLabV1", 75.8, "resnet", "deeplabv1", "tuned"),
    Published("noise", "seam", "DeepLabV1", 64.5, "resnet", "deeplabv1", "tuned"),
    Published("noise", "eps", "DeepLabV1", 70.1, "resnet", "deeplabv1", "tuned"),
    Published("noise", "truth", "DeepLabV3+", 78.5, "resnet", "deeplabv3plus", "tuned"),
    Published("noise", "seam", "DeepLabV3+", 63.3, "resnet", "deeplabv3plus", "tuned"),
    Published("noise", "eps", "DeepLabV3+", 68.6, "resnet", "deeplabv3plus", "tuned"),
    Published("noise", "truth", "SegFormer", 82.8, "mit", "segformer", "tuned"),
    Published("noise", "seam", "SegFormer", 65.5, "mit", "segformer", "tuned"),
    Published("noise", "eps", "SegFormer", 69.0, "mit", "segformer", "tuned"),
    Published("noise", "truth", "frozen DINOv2 + linear", 80.6, "dinov2", "linear", "frozen"),
    Published("noise", "seam", "frozen DINOv2 + linear", 71.2, "dinov2", "linear", "frozen"),
    Published("noise", "eps", "frozen DINOv2 + linear", 74.1, "dinov2", "linear", "frozen"),
    Published("backbone", "seam", "DINOv1", 58.9, "dinov1", "linear", "frozen"),
    Published("backbone", "eps", "DINOv1", 63.6, "dinov1", "linear", "frozen"),
    Published("backbone", "seam", "iBOT-L", 65.2, "ibot-l", "linear", "frozen"),
    Published("backbone", "eps", "iBOT-L", 70.0, "ibot-l", "linear", "frozen"),
    Published("backbone", "seam", "iBOT-L/22k", 65.8, "ibot-l-22k", "linear", "frozen"),
    Published("backbone", "eps", "iBOT-L/22k", 73.3, "ibot-l-22k", "linear", "frozen"),
    Published("backbone", "seam", "DINOv2", 71.2, "dinov2", "linear", "frozen"),
    Published("backbone", "eps", "DINOv2", 74.1, "dinov2", "linear", "frozen"),
)
"""Every figure of the tables, marked as published."""
