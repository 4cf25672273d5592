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
    for method, given in DEFAULT_SWEEPS.items():
        assert len(plan_sweep(method, METHODS[method].config, given)) > 3


def test_no_flag_of_the_command_hides_a_setting_of_a_method():
    own = {field.name for field in dataclasses.fields(SweepFlags)} | {"grid", "plot", "csv", "json"}
    for method in METHODS.values():
        assert not own & {field.name for field in dataclasses.fields(method.config)}


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
        (["clip"], "nothing is swept: no setting of clip has several values"),
        (["scribble", "--shrink", "0.5"], "nothing is swept"),
        (["guess"], "unknown method 'guess'"),
        (["scribble", "--seeds", "0"], "--seeds must be >= 1"),
        (["scribble", "--csv", "--json"], "--csv and --json exclude each other"),
    ):
        assert main(["sweep", *words]) == 2
        assert message in capsys.readouterr().err
