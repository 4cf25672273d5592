import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from segprobe.batches import BatchMaker
from segprobe.config import FitConfig
from segprobe.fit import fit_head
from segprobe.layers import Layers, LayerSource
from segprobe.losses import make_loss
from segprobe.objective import Objective
from segprobe.runtime import Runtime
from segprobe.terms import TERMS, make_terms, parse_terms
from segprobe.terms.context import TermContext
from tests.segprobe.terms.grids import DATASET, FEATURES, PlainRun, dots, head_of, truth_maps
from tests.segprobe.toy import Killed, kill_at, label_set

ALL = (
    "tree",
    "gated-crf,radius=2",
    "distance-entropy",
    "pseudo",
    "prototype,features=projection",
    "absent",
    "entropy",
    "lorm",
)


def supervision():
    truth = truth_maps()
    scribbles = dots(truth)
    return label_set(scribbles), Layers(PlainRun(scribbles, layers={"scribble": scribbles, "pseudo": truth}))


def fitted(config, **more):
    labels, layers = supervision()
    return fit_head(labels, FEATURES, config, images=DATASET, layers=layers, **more)


@pytest.mark.slow
def test_every_term_changes_the_head_and_is_in_the_log(tmp_path):
    config = FitConfig(steps=10, batch_size=2, pixels=16, head="projection,dim=8", lr=1e-2)
    plain = fitted(config).head.state_dict()
    for text in ALL:
        folder = tmp_path / text.split(",", maxsplit=1)[0]
        folder.mkdir()
        found = fitted(FitConfig(**{**vars(config), "terms": (text,)}), folder=folder)
        assert not torch.equal(found.head.classify.weight, plain["classify.weight"]), text
        assert set(found.head.state_dict()) == set(plain)  # what terms train is thrown away
        line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
        assert line[folder.name] > 0
    assert {text.split(",", maxsplit=1)[0] for text in ALL} == set(TERMS)


@dataclass(frozen=True)
class Told(Runtime):
    """A process that knows the sums of the others without asking."""

    totals: tuple[float, ...] = ()

    def sum(self, *values):
        return self.totals


def test_the_parts_of_two_processes_add_up_to_the_whole():
    labels, layers = supervision()
    config = FitConfig(batch_size=3, pixels=16, terms=ALL, head="projection,dim=8")
    shares, gradients = [], []
    for part, whole in (((0, 1), True), ((0, 2), False), ((1, 2), False)):
        head = head_of("projection,dim=8", classes=len(labels.class_ids))
        context = TermContext(labels, head, features=FEATURES, images=DATASET, layers=layers)
        objective = Objective(make_loss(config.loss), make_terms(parse_terms(ALL), context))
        maker = BatchMaker(FEATURES, labels, config, whole=True)
        batch = maker.batch(0, part=part)
        together = maker.batch(0)
        totals = together.weight, len(together.images)
        found = objective(head, batch, runtime=Runtime() if whole else Told(*part, totals=totals))
        found.loss.backward()
        shares.append(found.loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in head.parameters()]))
    assert shares[1] + shares[2] == pytest.approx(shares[0], rel=1e-5)
    torch.testing.assert_close(gradients[1] + gradients[2], gradients[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("terms", [("tree", "lorm"), ("prototype,features=projection",)])
def test_resuming_changes_no_bit(tmp_path, monkeypatch, terms):
    config = FitConfig(
        steps=20, batch_size=2, pixels=16, checkpoint_every=5, terms=terms, head="projection,dim=4", ema=0.5
    )
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = fitted(config, folder=tmp_path / "whole")

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 12)
        fitted(config, folder=tmp_path / "parts")
    resumed = fitted(config, folder=tmp_path / "parts")
    assert resumed.losses == whole.losses[10:]
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, resumed.head.state_dict()[name])


def test_terms_that_lack_what_they_need_say_so_before_training():
    labels, _ = supervision()
    with pytest.raises(ConfigError, match="needs images"):
        fit_head(labels, FEATURES, FitConfig(steps=1, terms=("tree",)))
    with pytest.raises(ConfigError, match="term pseudo needs labels with a layer"):
        fit_head(labels, FEATURES, FitConfig(steps=1, terms=("pseudo",)), layers=Layers(PlainRun(dots(truth_maps()))))


def test_a_layer_is_read_as_if_it_were_the_labels():
    truth = truth_maps()
    run = PlainRun(truth, layers={"scribble": dots(truth), "pseudo": truth})
    source = LayerSource(run, "scribble")
    assert np.array_equal(source.labels(DATASET.ids[0]), dots(truth)[DATASET.ids[0]]) and source.ids == run.ids
    with pytest.raises(ConfigError, match="--layer strokes needs labels with a layer 'strokes'"):
        LayerSource(run, "strokes")


# command line -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [[], ["--tune"]])
def test_the_command_line_records_terms_and_the_probe_can_be_used(tmp_path, monkeypatch, capsys, vit_flags, strategy):
    from labelgen.cli import main as labelgen
    from segprobe.cli import main as segprobe

    monkeypatch.chdir(tmp_path)
    assert labelgen(["scribble", "demo:4", "--drop", "0.3", "--out", "runs/s"]) == 0
    texts = ["tree,weight=0.2", "absent", "distance-entropy", "gated-crf,features=0.5", "prototype", "entropy", "lorm"]
    terms = [word for text in texts for word in ("--term", text)]
    small = [
        "--steps",
        "4",
        "--batch-size",
        "2",
        "--head",
        "projection,dim=8",
        "--device",
        "cpu",
        *vit_flags,
        *strategy,
    ]
    command = ["fit", "runs/s", *terms, *small, "--out", "probes/s"]
    assert segprobe(command) == 0
    probe = json.loads((tmp_path / "probes/s/probe.json").read_text())
    assert probe["config"]["terms"] == texts
    tree = {"name": "tree", "weight": 0.2, "sigma": 0.02, "feature_sigma": 1.0, "features": "tokens"}
    assert probe["figures"]["terms"][0] == tree
    capsys.readouterr()
    assert segprobe(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert segprobe(["eval", "probes/s", "--limit", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 2


def test_a_term_that_does_not_exist_is_refused_on_the_command_line(tmp_path, monkeypatch, capsys):
    from segprobe.cli import main as segprobe

    monkeypatch.chdir(tmp_path)
    assert segprobe(["fit", "truth", "--data", "demo:2", "--term", "forest"]) != 0
    assert "unknown term 'forest'" in capsys.readouterr().err


@pytest.mark.slow
def test_labels_that_lack_a_layer_are_refused_before_anything_is_done(tmp_path, monkeypatch, capsys):
    from labelgen.cli import main as labelgen
    from segprobe.cli import main as segprobe

    monkeypatch.chdir(tmp_path)
    assert labelgen(["scribble", "demo:2", "--out", "runs/s"]) == 0
    for term in ("pseudo", "distance-entropy,maps=both"):
        assert segprobe(["fit", "runs/s", "--term", term, "--device", "cpu"]) != 0
        assert "labelgen promote" in capsys.readouterr().err
    assert not (tmp_path / "probes").exists() and not (tmp_path / "cache").exists()
