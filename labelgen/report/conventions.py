"""How the figures of a page are counted, and what other tools would say of the same labels."""

from collections.abc import Sequence

from labelgen.quality.boundary import BOUNDARY_FRACTION
from labelgen.report.html import Cell, Column, Section, Table, text_cell

__all__ = ["conventions", "quality_conventions", "sweep_conventions"]

RULES = (
    (
        "counting",
        "One confusion matrix over all pixels of all images: rows truth, columns labels, one more for unlabelled",
    ),
    ("void", "Pixels that are void in the truth (255) are counted nowhere"),
    ("IoU", "TP / (TP + FP + FN) of a class, from sums over the data set; not a mean over images"),
    ("mIoU, unlabelled = miss", "Unlabelled pixels are misses of their true class, and predict nothing"),
    (
        "mIoU, labelled pixels",
        "Over labelled pixels only; says nothing of what was left out, so read it beside coverage",
    ),
    ("coverage", "Labelled share of the pixels that are not void in the truth"),
    ("precision", "TP / (TP + FP) of a class"),
    ("pixel precision", "Right share of the labelled pixels of all classes; also called accuracy on labelled pixels"),
    ("recall", "TP / (TP + FN) of a class, unlabelled pixels among the FN"),
    ("mIoU, unlabelled = background", "As if unlabelled pixels were labelled background; where there is a background"),
    ("missing class", "A class in the truth of an image without a single labelled pixel on it, whatever its label"),
    (
        "absent classes",
        "A class in neither truth nor labels has no value (-) and is in no mean; one that is only labelled has IoU 0",
    ),
    ("size", "Labels must have the size of the truth; nothing is resized"),
    (
        "boundary IoU",
        f"IoU within {100 * BOUNDARY_FRACTION:g} % of the image diagonal from each contour, summed over the data set",
    ),
    ("image mIoU", "Mean over the classes of one image; its mean over images is another figure than mIoU"),
    ("interval", "95 %: images drawn with replacement 1000 times, percentiles of the mIoU of the draws"),
)

OTHERS = (  # tool, how it pools, absent classes, a predicted 255, which figure here is nearest
    (
        "mmsegmentation IoUMetric",
        "data set",
        "left out of the mean (or 0 with nan_to_num)",
        "falls out of its histogram: a miss",
        "mIoU, unlabelled = miss",
    ),
    (
        "HF evaluate mean_iou",
        "data set",
        "left out of the mean",
        "falls out of its histogram: a miss",
        "mIoU, unlabelled = miss",
    ),
    (
        "torchmetrics MeanIoU",
        "mean of the IoU of each image",
        "-1 by class, left out of the mean",
        "no ignore index: an error or wrong one-hot codes",
        "image mIoU, of dense labels only",
    ),
    (
        "torchmetrics JaccardIndex",
        "data set",
        "left out of the macro mean",
        "ignore_index holds for the truth only: an error",
        "either mIoU, of dense labels only",
    ),
    (
        "FiftyOne evaluate_segmentations",
        "data set; accuracy, precision and recall, no mIoU",
        "depends on the list of classes",
        "pairs outside the list of classes are left out",
        "mIoU, labelled pixels (from its confusion matrix)",
    ),
    (
        "scikit-learn confusion_matrix",
        "what it is given",
        "rows of zeros",
        "pairs outside labels= are left out",
        "mIoU, labelled pixels",
    ),
)


def conventions(own: Sequence[tuple[str, str]] = (), *, intro: Sequence[str] = ()) -> Section:
    """The section at the end of every page with figures.

    Parameters
    ----------
    own
        Rules of the page itself, which come before those of all pages.
    """
    return Section(
        anchor="conventions",
        title="How these figures are counted",
        intro=intro,
        tables=(_rules((*own, *RULES)), _others()),
    )


def quality_conventions() -> Section:
    """That of a page that compares labels with truth."""
    intro = (
        "Labels with holes have no single score. Three figures stand side by side here, and the tools below each "
        "give one of them, or another, for the same files."
    )
    return conventions(intro=(intro,))


def sweep_conventions(*, seeds: int) -> Section:
    """That of a sweep."""
    what = "the range over seeds" if seeds > 1 else "the 95 % interval over images (one seed)"
    return conventions((("bands", f"Bands and whiskers are {what}"),))


def _rules(rules: tuple[tuple[str, str], ...]) -> Table:
    return Table(
        "Rules",
        (Column("figure", kind="words"), Column("how", kind="words long")),
        [(text_cell(name), Cell(how, how.lower(), "words long")) for name, how in rules],
        sortable=False,
    )


def _others() -> Table:
    titles = ("tool", "pooled over", "absent classes", "an unlabelled pixel (255)", "nearest figure here")
    return Table(
        "What other tools do",
        tuple(Column(title, kind="words" if title == "tool" else "words long") for title in titles),
        [(text_cell(row[0]), *(Cell(text, text.lower(), "words long") for text in row[1:])) for row in OTHERS],
        caption="On dense labels without 255 all that pool over the data set agree with both mIoUs here, "
        "apart from absent classes.",
        sortable=False,
    )
