"""Labels to a trained probe in Python: scribbles on demo scenes, a linear head on the frozen demo-ssvt, val mIoU.

python examples/05_train_probe.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

from labelgen.data.open import open_data
from labelgen.methods.scribble import ScribbleConfig
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.run import method_job, run_job
from labelgen.store import RunFolder
from segprobe.config import FitConfig
from segprobe.evaluate import evaluate_probe
from segprobe.fit import fit
from segprobe.predict import load_predictor


def main(folder: Path) -> None:
    train, val = open_data("demo", split="train", limit=40), open_data("demo", split="val", limit=20)
    run_job(train, method_job("scribble", ScribbleConfig(), train.vocabulary), folder / "scribble")
    report = fit(
        RunFolder.open(folder / "scribble"),
        train,
        backbone=BackboneConfig("demo-ssvt"),
        config=FitConfig(epochs=20, seed=1),
        out=folder / "probe",
        cache=folder / "cache",
    )
    print(f"trained on {report.images} images, {report.coverage:.2%} of their pixels labelled")
    result = evaluate_probe(load_predictor(folder / "probe"), val)
    print(f"val mIoU {result.miou:.3f} over {result.scores.num_classes} classes of {len(val.ids)} images")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
