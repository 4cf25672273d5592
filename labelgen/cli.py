"""The `labelgen` command: a table of commands, each in its own module and imported when it is called."""

import sys
from collections.abc import Sequence

from labelgen import __version__
from labelgen.commands.frame import new_app, run_cli

__all__ = ["app", "main"]

HELP = "Make imperfect segmentation labels, measure how good they are, and repair them."

EXAMPLES = (
    "labelgen scribble --shrink 0.5",
    "labelgen quality",
    "labelgen scribble voc:VOCdevkit/VOC2012 --split train --out runs/voc",
    "labelgen COMMAND --help",
)

METHODS = {  # name: one line of help; a command each for the rows of labelgen.methods
    "box": "Filled bounding boxes of the objects in the ground truth.",
    "cam": "Labels from image-level tags and the class maps of a trained classifier.",
    "clip": "Labels from class names alone, by a frozen image-text model.",
    "clip-es": "Labels from image-level tags and a frozen image-text model.",
    "corrupt": "Ground truth with errors of a known kind and amount.",
    "point": "Clicks, sampled from ground truth or real.",
    "scribble": "Scribbles, drawn from ground truth as a person might, or real.",
    "zeroseg": "Labels from a ZeroSeg student, and class names.",
}

COMMANDS = {  # name: (module and function, one line of help)
    "clip-models": ("labelgen.commands.clip_models:clip_models", "List image-text models for clip."),
    "doctor": ("labelgen.commands.doctor:doctor", "Say whether this machine is in order, and what to do where not."),
    "export": ("labelgen.commands.export:export", "Write labels or seeds as files of other tools."),
    "fit-cam": ("labelgen.commands.fit_cam:fit_cam", "Train a classifier from images and tags, for cam."),
    "fit-zeroseg": ("labelgen.commands.fit_zeroseg:fit_zeroseg", "Train a ZeroSeg student from images and CLIP."),
    "formats": ("labelgen.commands.formats:formats", "List the file formats of export and import."),
    "import": ("labelgen.commands.import_labels:import_labels", "Read masks or seeds of other tools into a run."),
    "preview": ("labelgen.commands.preview:preview", "Label one picture and look at what came out."),
    "promote": ("labelgen.commands.promote:promote", "Scribbles and pseudo-labels of their classes, merged."),
    "quality": ("labelgen.commands.quality:quality", "Compare labels with the truth."),
    "rank": ("labelgen.commands.rank:rank", "List suspicious images and classes, without truth."),
    "refine": ("labelgen.commands.refine:refine", "Repair the labels of a run."),
    "refiners": ("labelgen.commands.refiners:refiners", "List the refiners and their settings."),
    "report": ("labelgen.commands.report:report", "Runs as a page to look at and to hand on."),
    "saliency": ("labelgen.commands.saliency:saliency", "Write maps of what is some object, without training."),
    "sweep": ("labelgen.commands.sweep:sweep", "One method over values of its settings, measured."),
    "verify": ("labelgen.commands.verify:verify", "Check that a run folder is still what was written."),
    "vocabs": ("labelgen.commands.vocabs:vocabs", "List the vocabularies."),
}

app = new_app("labelgen", help=HELP, version=__version__, examples=EXAMPLES)
for _name, _sentence in METHODS.items():
    app.command(f"labelgen.commands.methods:{_name.replace('-', '_')}", name=_name, help=_sentence)
for _name, (_target, _sentence) in COMMANDS.items():
    app.command(_target, name=_name, help=_sentence)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    return run_cli(app, argv)


if __name__ == "__main__":
    sys.exit(main())
