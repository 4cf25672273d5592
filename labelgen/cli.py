"""The `labelgen` command: a table of commands, each in its own module and imported when it is called."""

import sys
from collections.abc import Sequence

from labelgen import __version__
from labelgen.commands.frame import new_app, run_cli

__all__ = ["app", "main"]

HELP = "Make imperfect segmentation labels, measure how good they are, and repair them."

COMMANDS = {  # name: (module and function, one line of help)
    "clip-models": ("labelgen.commands.clip_models:clip_models", "List image-text models for clip."),
    "export": ("labelgen.commands.export_seeds:export_seeds", "Write seeds as files that published code reads."),
    "fit-cam": ("labelgen.commands.fit_cam:fit_cam", "Train a classifier from images and tags, for cam."),
    "fit-zeroseg": ("labelgen.commands.fit_zeroseg:fit_zeroseg", "Train a ZeroSeg student from images and CLIP."),
    "import": ("labelgen.commands.import_seeds:import_seeds", "Read seed files of published code into a run."),
    "preview": ("labelgen.commands.preview:preview", "Label one picture and look at what came out."),
    "quality": ("labelgen.commands.quality:quality", "Compare labels with the truth."),
    "refine": ("labelgen.commands.refine:refine", "Repair the labels of a run."),
    "saliency": ("labelgen.commands.saliency:saliency", "Write maps of what is some object, without training."),
    "verify": ("labelgen.commands.verify:verify", "Check that a run folder is still what was written."),
    "vocabs": ("labelgen.commands.vocabs:vocabs", "List the vocabularies."),
}

app = new_app("labelgen", help=HELP, version=__version__)


def _register() -> None:
    from labelgen.commands.generate import method_command
    from labelgen.commands.scribble_after import AfterScribble
    from labelgen.methods import METHODS

    for name, method in METHODS.items():
        afterwards = AfterScribble if name == "scribble" else None
        app.command(method_command(name, method, afterwards=afterwards), name=name)
    for name, (target, sentence) in COMMANDS.items():
        app.command(target, name=name, help=sentence)


_register()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    return run_cli(app, argv)


if __name__ == "__main__":
    sys.exit(main())
