"""The published figures and the commands of their rows, which the real command lines must understand."""

import json
import shlex

import pytest

from labelgen.cli import app as labelgen_app
from segprobe.baselines.decoders import DECODERS
from segprobe.cli import app as segprobe_app
from segprobe.cli import main
from segprobe.commands.compare import compare
from segprobe.compare.plan import Plan, parse_backbone, split_list
from segprobe.heads import HEADS
from segprobe.paper import LABELS, NETWORKS, PUBLISHED, TABLES, label_commands

APPS = {"labelgen": labelgen_app, "segprobe": segprobe_app}
COMMANDS = sorted({row.command() for row in PUBLISHED if row.network})


def parsed(text):
    """What a command line is understood as; nothing is run."""
    name, *words = shlex.split(text)
    command, bound, _ = APPS[name].parse_args(words, print_error=False, exit_on_error=False)
    return command, bound.arguments


@pytest.mark.parametrize("text", COMMANDS)
def test_the_command_of_every_row_is_understood(text):
    command, values = parsed(text)
    assert command is compare
    heads, strategies = split_list(values["heads"]), split_list(values["strategies"])
    backbones = tuple(parse_backbone(name) for name in split_list(values["backbones"]))
    plan = Plan(runs=values["runs"], backbones=backbones, heads=heads, strategies=strategies, truth=values["truth"])
    (cell,) = [cell for cell in plan.cells() if cell.seed == 0]
    assert cell.config.tune == (strategies == ("tuned",))
    assert cell.config.baseline == (heads[0] if heads[0] in DECODERS else "")
    assert heads[0] in {*DECODERS, *HEADS}


@pytest.mark.parametrize("text", [command for name in LABELS for command in label_commands(name)])
def test_the_commands_of_the_labels_are_understood(text):
    _, values = parsed(text)
    assert values


def test_a_mistyped_flag_would_be_noticed():
    with pytest.raises(Exception, match="strateges"):
        parsed(COMMANDS[0].replace("--strategies", "--strateges"))


def test_runs_of_the_rows_are_those_that_the_commands_of_the_labels_write():
    for row in PUBLISHED:
        if row.network and row.supervision != "truth":
            assert label_commands(row.supervision)[-1].endswith(f"--out runs/{row.supervision}")
            assert f" runs/{row.supervision} " in row.command()


def test_figures_are_those_of_the_tables():
    figures = {(row.table, row.supervision, row.method, row.strategy): row.miou for row in PUBLISHED}
    assert len(figures) == len(PUBLISHED) == 8 + 9 + 14 + 8
    assert figures["supervision", "scribble", "frozen DINOv2", "frozen"] == 80.1
    assert figures["freezing", "seam", "SegFormer", "frozen"] == 63.6
    assert figures["noise", "truth", "SegFormer", "tuned"] == 82.8
    assert figures["backbone", "eps", "iBOT-L/22k", "frozen"] == 73.3
    assert {row.table for row in PUBLISHED} == set(TABLES)
    assert {row.network for row in PUBLISHED} - {""} == set(NETWORKS)


def test_the_command_lists_them(capsys):
    assert main(["paper", "--json", "--voc", "my data/VOC", "--table", "supervision"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["table"] for row in found["rows"]} == {"supervision"}
    assert found["rows"][0]["published"] is True
    assert found["rows"][0]["command"] is None  # TEL is not part of this project
    assert "'voc:my data/VOC'" in found["rows"][1]["command"]
    assert main(["paper"]) == 0
    printed = capsys.readouterr().out
    assert "80.6" in printed
    assert "segprobe compare truth --data voc:VOC" in printed
    assert main(["paper", "--table", "none"]) == 2
