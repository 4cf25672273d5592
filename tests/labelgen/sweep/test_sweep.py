"""`labelgen sweep`: which runs are made, what is said of them, and that a second call makes none again."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.commands.sweep import SweepFlags
from labelgen.errors import ConfigError
from labelgen.methods import METHODS
from labelgen.methods.scribble import ScribbleConfig
from labelgen.refine import REFINERS
from labelgen.store import RunFolder
from labelgen.sweep.plan import DEFAULT_SWEEPS, plan_sweep, split_values
from labelgen.sweep.plot import curves_of
from labelgen.sweep.table import MEASURES, means_of


def names(given, **options):
    return [point.name for point in plan_sweep("scribble", ScribbleConfig, given, **options)]


@pytest.mark.parametrize(
    ("text", "values"),
    [("0,.5,1", ("0", "0.5", "1")), ("1.0, 2e", ("1", "2e")), ("a;b,c", ("a", "b,c")), ("-1", ("-1",))],
)
def test_values_as_they_are_typed(text, values):
    assert split_values(text) == values


@pytest.mark.parametrize("text", ["", "0,,1", "0.5,.5"])
def test_values_that_are_missing_or_said_twice(text):
    with pytest.raises(ConfigError, match="different values between commas"):
        split_values(text)


def test_lists_are_values_by_themselves():
    """Commas belong to a list of classes or scales; semicolons stand between lists, and behind the only one."""
    config = METHODS["clip"].config
    points = plan_sweep("clip", config, {"classes": "cat, dog", "crop": "112,224"})
    assert [(p.config.classes, p.config.crop) for p in points] == [("cat, dog", 112), ("cat, dog", 224)]
    points = plan_sweep("clip", config, {"classes": "cat, dog; sky", "ignore_thresholds": "cat=1,dog=1"})
    assert [p.config.classes for p in points] == ["cat, dog", "sky"]
    assert points[0].config.ignore_thresholds == ("cat=1", "dog=1")
    points = plan_sweep("corrupt", METHODS["corrupt"].config, {"kind": "classes=0.2,drop=0.1;", "level": "0.1,0.2"})
    assert [p.config.kind for p in points] == ["classes=0.2,drop=0.1"] * 2


def test_names_of_long_values_can_be_stored():
    long = ", ".join(f"class number {number}" for number in range(40))
    first, second = plan_sweep("clip", METHODS["clip"].config, {"classes": long, "crop": "112,224"})
    assert first.name != second.name and max(len(first.folder(0)), len(second.folder(0))) < 150


def test_one_setting_after_the_other_or_all_combinations():
    given = {"shrink": "0,1", "drop": ".1,.2", "width": "5"}
    assert names(given) == [
        "scribble-width-5-shrink-0",
        "scribble-width-5-shrink-1",
        "scribble-width-5-drop-0.1",
        "scribble-width-5-drop-0.2",
    ]
    assert names(given, grid=True) == [
        f"scribble-width-5-shrink-{shrink}-drop-{drop}" for shrink in (0, 1) for drop in (0.1, 0.2)
    ]
    points = plan_sweep("scribble", ScribbleConfig, given, grid=True)
    assert (points[2].config.shrink, points[2].config.drop, points[2].config.width) == (1, 0.1, 5)


def test_the_same_settings_share_one_run():
    assert names({"shrink": "0,0.5", "drop": "0,0.1"}) == [
        "scribble-shrink-0",
        "scribble-shrink-0.5",
        "scribble-shrink-0",
        "scribble-drop-0.1",
    ]


def test_settings_that_cannot_be_swept():
    with pytest.raises(ConfigError, match="scribble has no setting 'shrnk'"):
        names({"shrnk": "0,1"})
    with pytest.raises(ConfigError, match=r"shrink must lie in \[0, 1\], got 2"):
        names({"shrink": "0,2"})
    with pytest.raises(ConfigError, match="nothing is swept"):
        names({"shrink": "0.5"})


def test_defaults_are_settings_of_their_methods():
    assert set(DEFAULT_SWEEPS) == set(METHODS) | set(REFINERS) and not set(METHODS) & set(REFINERS)
    for method, given in DEFAULT_SWEEPS.items():
        config = (METHODS.get(method) or REFINERS[method]).config
        assert len(plan_sweep(method, config, given)) >= 3


def test_no_flag_of_the_command_hides_a_setting_of_a_method():
    own = {field.name for field in dataclasses.fields(SweepFlags)} | {"grid", "plot", "csv", "json"}
    for name, method in {**METHODS, **REFINERS}.items():
        taken = own | ({"data", "certainty"} if name in REFINERS else set())
        hidden = taken & {field.name for field in dataclasses.fields(method.config)}
        assert hidden == ({"refine"} if name == "band" else set())  # --refine adds refiners behind any


def test_curves_of_a_grid_have_a_panel_per_measure():
    base = {"sweeps": ["shrink", "drop"], "seed": 0, **dict.fromkeys(MEASURES)}
    rows = [base | {"settings": {"shrink": s, "drop": d}, "miou": float(s) + float(d)} for s in "01" for d in "23"]
    [(panel, curves)] = curves_of(means_of(rows)).items()
    assert panel == MEASURES["miou"]
    assert [(name, values) for name, values, _ in curves] == [("drop 2", ["0", "1"]), ("drop 3", ["0", "1"])]
    assert [point["mean"] for point in curves[1][2]] == [3.0, 4.0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


SWEEP = ["sweep", "scribble", "--shrink", "0,1", "--seeds", "2", "--limit", "3"]


@pytest.mark.slow
def test_a_sweep_from_end_to_end(folder, capsys):
    assert main([*SWEEP, "--json", "--plot", "curves/sweep.png"]) == 0
    document = json.loads(capsys.readouterr().out)
    runs = [f"runs/sweep/scribble-shrink-{s}{seed}" for s in (0, 1) for seed in ("-seed0", "-seed1")]
    assert [row["run"] for row in document["rows"]] == runs
    named = " ".join(f"'runs/sweep/scribble-shrink-{s}-seed{{seed}}'" for s in (0, 1))
    assert document["compare"] == f"segprobe compare {named} --seeds 2"
    assert [RunFolder.open(run).header["seed"] for run in runs] == [0, 1, 0, 1]
    for row in document["rows"]:
        assert row["coverage"] == pytest.approx(RunFolder.open(row["run"]).header["counts"]["coverage"], abs=1e-3)
    whole, dots = document["means"]
    found = [row["miou"] for row in document["rows"][:2]]
    assert whole["miou"]["mean"] == pytest.approx(np.mean(found))
    assert whole["miou"]["std"] == pytest.approx(np.std(found, ddof=1))
    assert whole["coverage"]["mean"] > 5 * dots["coverage"]["mean"] > 0
    assert whole["miou_labelled"]["mean"] == dots["miou_labelled"]["mean"] == 1
    assert (folder / "curves/sweep.png").read_bytes().startswith(b"\x89PNG")

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert main([*SWEEP[:3], "0,1,.5", *SWEEP[4:], "--csv"]) == 0  # one value more: nothing else is made again
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["shrink"] for row in rows] == ["0", "0", "1", "1", "0.5", "0.5"]
    assert float(rows[0]["miou"]) == pytest.approx(found[0], abs=1e-6)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_plan_and_its_errors(folder, capsys):
    assert main(["sweep", "--dry-run", "--seed", "4"]) == 0
    assert "runs/sweep/scribble-shrink-0.7-seed4" in capsys.readouterr().out
    assert main(["sweep", "point", "--n", "1,2", "--drop", ".5", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == [f"runs/sweep/point-drop-0.5-n-{n}-seed0" for n in (1, 2)]
    assert not (folder / "runs").exists()
    for words, message in (
        (["clip", "--method", "naclip"], "nothing is swept: no setting of clip has several values"),
        (["scribble", "--shrink", "0.5"], "nothing is swept"),
        (["point", "--n", "1,2,1"], "a sweep needs different values"),
        (["point", "--nn", "1,2"], "method point has no setting 'nn'"),
        (["guess"], "unknown method 'guess'"),
        (["scribble", "--seeds", "0"], "--seeds must be >= 1"),
        (["scribble", "--csv", "--json"], "--csv and --json exclude each other"),
    ):
        assert main(["sweep", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("method", ["box", "clip", "clip-es", "corrupt", "point", "scribble"])
def test_every_method_is_swept_and_resumed(method, folder, capsys):
    few = ["--templates", "simple"] if method == "clip" else []
    words = ["sweep", method, *few, "--limit", "2", "--out", "out", "--json"]
    assert main([*words, "--dry-run"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not (folder / "out").exists() and plan["estimate"]["runs"] == len(plan["runs"]) >= 3
    assert plan["estimate"]["seconds"] > 0 and plan["estimate"]["bytes"] > 0
    assert main([*words, "--plot", "curve.png"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in document["rows"]] == plan["runs"]
    assert all(0 <= row["miou"] <= 1 and row["images"] == 2 for row in document["rows"])
    assert (folder / "curve.png").stat().st_size > 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("labels/*.png")}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("labels/*.png")} == before
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate"]["runs"] == 0


@pytest.mark.slow
def test_methods_that_need_a_network_of_their_own_are_swept(folder, capsys):
    quick = ["--limit", "4", "--device", "cpu"]
    small = ["--iterations", "1", "--batch", "2", "--long-side", "32", "48", "--crop", "32"]
    assert main(["fit-cam", *quick, *small]) == 0
    assert main(["sweep", "cam", "--limit", "2", "--background", "fixed:0.2,power:4", "--scales", "1"]) == 0
    capsys.readouterr()
    assert main(["sweep", "cam", "--limit", "2", "--background", "fixed:0.2,power:4", "--scales", "1", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["background"] for row in rows] == ["fixed:0.2", "power:4"]
    small = ["--epochs", "1", "--batch", "2", "--tiles", "1", "2", "--stages", "6", "3"]
    assert main(["fit-zeroseg", *quick, *small]) == 0
    assert main(["sweep", "zeroseg", "--limit", "2", "--top-k", "1,3", "--grid", "--templates", "simple"]) == 0
    assert "top_k" in capsys.readouterr().out


@pytest.mark.slow
def test_refiners_are_swept_over_a_run(folder, capsys):
    assert main(["point", "--limit", "2", "--out", "runs/points", "--save-scores"]) == 0
    capsys.readouterr()
    assert main(["sweep", "pamr", "--steps", "1,3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in document["rows"]] == [f"runs/sweep/points-pamr-steps-{n}-seed0" for n in (1, 3)]
    assert document["data"] == "points" and {row["method"] for row in document["rows"]} == {"refine"}
    assert main(["refine", "runs/points", "--with", "pamr,steps=3", "--out", "runs/same"]) == 0
    same, swept = (RunFolder.open(path) for path in ("runs/same", "runs/sweep/points-pamr-steps-3-seed0"))
    assert [same.labels(i).tolist() for i in same.ids] == [swept.labels(i).tolist() for i in swept.ids]
    capsys.readouterr()
    assert main(["sweep", "par", "runs/points", "--certainty", "0.6,0.9", "--steps", "1", "--limit", "1"]) == 0
    assert "certainty" in capsys.readouterr().out
    assert RunFolder.open("runs/sweep/points-par-steps-1-certainty-0.6-seed0").header["config"]["certainty"] == 0.6
    for words, message in (
        (["pamr", "absent"], "no run folder"),
        (["pamr", "runs/points", "--stepps", "1,2"], "refiner pamr has no setting 'stepps'"),
        (["pamr", "runs/points", "--tags", "t.csv"], "refiners look at no image-level tags"),
        (["regions", "runs/points", "--vote", "mean,guess"], "vote of refiner regions must be"),
    ):
        assert main(["sweep", *words]) in (1, 2)
        assert message in capsys.readouterr().err


def test_an_error_names_the_run(folder, capsys):
    assert main(["sweep", "point", "folder:absent", "--n", "1,2"]) == 1
    assert "error: point-n-1-seed0: data not found" in capsys.readouterr().err
