"""Defaults from a file and from the environment, and all settings printed as such a file."""

import json
import tomllib

import pytest

from labelgen.cli import app, main
from labelgen.commands.defaults import flags_of, toml_value
from segprobe.cli import app as segprobe_app
from segprobe.cli import main as segprobe

COMMANDS = [(program, name) for program in (app, segprobe_app) for name in program if not name.startswith("-")]
REQUIRED = {"import": ["seeds", "--from", "psa"], "export": ["--to", "psa"]}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys, *tokens, run=main):
    assert run([*tokens, "--show-config"]) == 0
    text = capsys.readouterr().out
    return text, tomllib.loads(text)


def required(program, name):
    return REQUIRED.get(name, []) if program is app else []


@pytest.mark.parametrize(("program", "name"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_settings_are_read_back_to_the_same(program, name, capsys, tmp_path):
    run = main if program is app else segprobe
    text, content = shown(capsys, name, *required(program, name), run=run)
    assert list(content) == [name]
    (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
    again, _ = shown(capsys, name, "--config", "settings.toml", run=run)  # with what is required in the file
    assert again == text
    assert list(tmp_path.iterdir()) == [tmp_path / "settings.toml"]


def test_values_of_every_kind_are_read_back(capsys, tmp_path):
    typed = ["point", "demo:7", "--refine", "crf", "--refine", "pamr,steps=2", "--radius", "2.5", "--strict"]
    text, content = shown(capsys, *typed, "--out", 'a "b"\\c')
    assert content["point"]["data"] == "demo:7" and content["point"]["refine"] == ["crf", "pamr,steps=2"]
    assert content["point"]["strict"] is True and content["point"]["out"] == 'a "b"\\c'
    (tmp_path / "all.toml").write_text(text, encoding="utf-8")
    assert shown(capsys, "point", "--config", "all.toml")[0] == text


def test_tuples_and_settings_left_open_are_read_back(capsys, tmp_path):
    text, content = shown(capsys, "fit-cam", "--long-side", "100", "200", "--no-pretrained")
    assert content["fit-cam"]["long-side"] == [100, 200] and content["fit-cam"]["pretrained"] is False
    assert "# lr is not set" in text
    (tmp_path / "cam.toml").write_text(text)
    assert shown(capsys, "fit-cam", "--config", "cam.toml")[0] == text


def test_flags_of_any_name_are_read_back(capsys, tmp_path):
    text, content = shown(capsys, "sweep", "clip", "--crop", "112,224", "--grid")
    assert content["sweep"]["crop"] == "112,224" and content["sweep"]["method"] == "clip"
    (tmp_path / "sweep.toml").write_text(text)
    assert shown(capsys, "sweep", "--config", "sweep.toml")[0] == text
    other = shown(capsys, "sweep", "--config", "sweep.toml", "--crop", "56,112")[1]
    assert other["sweep"]["crop"] == "56,112"


def test_several_positional_values_come_from_the_file(capsys, tmp_path):
    (tmp_path / "two.toml").write_text('[quality]\nruns = ["a", "b c"]\n')
    assert shown(capsys, "quality", "--config", "two.toml")[1]["quality"]["runs"] == ["a", "b c"]
    assert shown(capsys, "quality", "d", "--config", "two.toml")[1]["quality"]["runs"] == ["d"]


def test_the_command_line_wins_over_the_environment_over_the_file(capsys, tmp_path, monkeypatch):
    (tmp_path / "s.toml").write_text("seed = 1\nlimit = 1\nworkers = 1\n[point]\nseed = 2\nlimit = 2\nradius = 2\n")
    found = shown(capsys, "point", "--config", "s.toml")[1]["point"]
    assert (found["seed"], found["limit"], found["workers"], found["radius"]) == (2, 2, 1, 2.0)
    monkeypatch.setenv("LABELGEN_SEED", "3")
    monkeypatch.setenv("LABELGEN_LIMIT", "3")
    monkeypatch.setenv("LABELGEN_POINT_LIMIT", "4")
    found = shown(capsys, "point", "--config", "s.toml")[1]["point"]
    assert (found["seed"], found["limit"], found["radius"]) == (3, 4, 2.0)
    found = shown(capsys, "point", "--config", "s.toml", "--seed", "9", "--limit", "9")[1]["point"]
    assert (found["seed"], found["limit"]) == (9, 9)


def test_the_environment_reaches_the_command(capsys, monkeypatch):
    monkeypatch.setenv("LABELGEN_POINT_DRY_RUN", "true")
    monkeypatch.setenv("LABELGEN_POINT_DATA", "demo:6")
    monkeypatch.setenv("LABELGEN_POINT_REFINE", "pamr,steps=1 pamr,steps=2")
    monkeypatch.setenv("LABELGEN_JSON", "1")
    monkeypatch.setenv("LABELGEN_LIMIT", "2")
    assert main(["point"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["to_label"] == 2 and plan["data"]["root"] == "6"


def test_each_program_has_variables_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("LABELGEN_TABLE", "noise")
    monkeypatch.setenv("SEGPROBE_PAPER_VOC", "V")
    assert shown(capsys, "paper", run=segprobe)[1]["paper"] == {"voc": "V", "table": "", "json": False}


@pytest.mark.parametrize(
    ("content", "error", "hint"),
    [
        ("[point]\nradios = 2.0\n", "unknown key: s.toml, [point] radios", "did you mean radius?"),
        ("sede = 2\n", "s.toml has a key 'sede', which is a flag of no command", "did you mean seed?"),
        ("[piont]\nradius = 2\n", "s.toml has a table [piont], which is no command", "did you mean [point]?"),
        ("[point]\nradius = [1, 2]\n", "s.toml, [point] radius must be a single value, got [1, 2]", "point --help"),
        ("[point]\nradius = true\n", "s.toml, [point] radius must not be true or false", "point --help"),
        ("[point.radius]\na = 2\n", "s.toml, [point] radius must be a value, got a table", "tables are named"),
        ('[point]\nradius = "wide"\n', "wide", "labelgen point --help"),
        ('[point]\nper = "pixel"\n', "pixel", "labelgen point --help"),
        ("[point\n", "config file cannot be read: s.toml", "it must be TOML"),
    ],
)
def test_what_a_file_may_not_say(content, error, hint, capsys, tmp_path):
    (tmp_path / "s.toml").write_text(content)
    assert main(["point", "--config", "s.toml"]) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == "" and first.startswith("error: ") and error in first
    assert second.startswith("hint: ") and hint in second


def test_keys_of_other_commands_and_tables_are_passed_over(capsys, tmp_path):
    (tmp_path / "s.toml").write_text("boundary = true\nlimit = 3\n[cam]\nbackground = 'power:6'\n")
    found = shown(capsys, "point", "--config", "s.toml")[1]["point"]
    assert found["limit"] == 3 and found["background"] == 1


def test_variables_that_are_no_flags(capsys, monkeypatch):
    monkeypatch.setenv("LABELGEN_SEDE", "3")
    assert main(["point", "--show-config"]) == 0
    assert capsys.readouterr().err == "warning: the environment variable LABELGEN_SEDE is a flag of no command\n"
    monkeypatch.delenv("LABELGEN_SEDE")
    monkeypatch.setenv("LABELGEN_CLIP_ES_CAA", "0")  # of another command, whose name begins with this one's
    assert main(["clip", "--show-config"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LABELGEN_CLIP_CORP", "3")
    assert main(["clip", "--show-config"]) == 2
    assert "hint: did you mean LABELGEN_CLIP_CROP?" in capsys.readouterr().err


def test_a_variable_of_the_package_is_no_flag(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LABELGEN_CACHE", str(tmp_path / "elsewhere"))
    assert shown(capsys, "fit-zeroseg")[1]["fit-zeroseg"]["cache"] == "cache"


def test_settings_need_a_command_and_are_checked(capsys):
    assert main(["--show-config"]) == 2
    assert "hint: labelgen COMMAND --show-config" in capsys.readouterr().err
    assert main(["point", "--sed", "1", "--show-config"]) == 2
    assert "did you mean --seed" in capsys.readouterr().err


@pytest.mark.parametrize(("program", "name"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_no_two_flags_share_a_key(program, name):
    command = program[name]
    arguments = command.assemble_argument_collection()
    leaves = [a for a in arguments if not a.children and a.field_info.kind is not a.field_info.VAR_KEYWORD]
    assert len(flags_of(arguments)) == len(leaves)


def test_values_of_toml():
    for value in ("", "\x7f\t\n", "ä 'b' \U0001f600", 1e-05, 3, -0.5, [[1, 2], ["a"]], True, float("inf")):
        assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
