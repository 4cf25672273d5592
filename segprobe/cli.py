"""The `segprobe` command: a table of commands, each in its own module and imported when it is called."""

import os
import sys
from collections.abc import Sequence

from labelgen import __version__
from labelgen.commands.frame import new_app, run_cli
from segprobe.commands.completion import COMPLETERS

__all__ = ["app", "main"]

HELP = "Train a light segmentation head on a frozen self-supervised ViT from imperfect labels."

EXAMPLES = (
    "segprobe demo",
    "segprobe fit runs/scribble --out probes/scribble",
    "segprobe eval probes/scribble",
    "segprobe COMMAND --help",
)

COMMANDS = {  # name: (module and function, one line of help)
    "demo": (
        "segprobe.commands.demo:demo",
        "The whole path on built-in scenes: labels, their quality, a probe on each.",
    ),
    "fit": ("segprobe.commands.fit:fit", "Train the head from a run of labels."),
    "eval": ("segprobe.commands.eval:evaluate", "The mIoU of a probe."),
    "predict": ("segprobe.commands.predict:predict", "Label images with a probe, into a run folder."),
    "compare": (
        "segprobe.commands.compare:compare",
        "Label runs against backbones, heads and strategies, over seeds, in one table.",
    ),
    "crossfit": (
        "segprobe.commands.crossfit:crossfit",
        "Predict each image by a probe that never saw its labels, for labelgen rank.",
    ),
    "export": ("segprobe.commands.export:export", "Write a probe for use elsewhere: ONNX, torch.export, its head."),
    "cache": ("segprobe.commands.cache:cache", "Compute features ahead of time."),
    "backbones": ("segprobe.commands.backbones:backbones", "List the backbones that are known."),
    "paper": ("segprobe.commands.paper:paper", "The published figures, and the commands that run their rows."),
    "tokens": ("segprobe.commands.tokens:tokens", "Draw the tokens of an image: k-means and principal components."),
}

app = new_app("segprobe", help=HELP, version=__version__, examples=EXAMPLES, completers=COMPLETERS)

for _name, (_target, _sentence) in COMMANDS.items():
    app.command(_target, name=_name, help=_sentence)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Threads of torch that wait for work go to sleep: spinning gains a few per cent on an idle machine, but on a busy one
    it makes small networks ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported
    return run_cli(app, argv)


if __name__ == "__main__":
    sys.exit(main())
