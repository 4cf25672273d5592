import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from labelgen.cli import METHODS as METHOD_COMMANDS
from labelgen.cli import app, main
from labelgen.commands import frame
from labelgen.commands.common import parse_shard, print_table, progress_bar
from labelgen.commands.progress import _PlainLines, _Speed
from labelgen.errors import ConfigError
from labelgen.masks import write_mask
from labelgen.methods import METHODS

TRUTH = np.zeros((12, 16), np.uint8)
TRUTH[3:9, 4:12] = 15


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def masks(tmp_path):
    """A data set of three masks."""
    for name in ("one", "two", "three"):
        write_mask(tmp_path / "data" / "masks" / f"{name}.png", TRUTH)
    return "folder:data"


def test_points_as_typed(masks, capsys):
    assert main(["point", masks, "--vocab", "voc", "--radius", "1", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "images labelled  3" in out and "supervision" in out
    assert "next             labelgen quality run" in out
    assert "error" not in err
    assert main(["verify", "run"]) == 0
    assert capsys.readouterr().out == "run is sound\n"


def test_a_complete_run_says_so(masks, capsys):
    for _ in range(2):
        assert main(["point", masks, "--vocab", "voc"]) == 0
    assert "runs/point is complete: nothing to do" in capsys.readouterr().out.replace("\\", "/")


def test_json_is_one_document_and_nothing_else(masks, capsys):
    assert main(["point", masks, "--vocab", "voc", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["done"] == 3 and document["complete"] and document["supervision"] == ["truth"]
    assert main(["verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True


def test_dry_run_writes_nothing(masks, capsys, tmp_path):
    assert main(["point", masks, "--vocab", "voc", "--dry-run"]) == 0
    assert "to label     3" in capsys.readouterr().out
    assert main(["point", masks, "--vocab", "voc", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["to_label"] == 3
    assert not (tmp_path / "runs").exists()


def test_some_failed_images_give_exit_code_3(masks, capsys, tmp_path):
    (tmp_path / "data/masks/two.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["point", masks, "--vocab", "voc", "--out", "run"]) == 3
    out, err = capsys.readouterr()
    assert "failed           1 (see run" in out
    error, hint = err.splitlines()[-2:]  # behind lines of progress, on a machine that is slow
    assert error.startswith("error: 1 of 3 images could not be labelled, the first two: mask cannot be read: ")
    assert hint == "hint: the file is truncated or not a PNG"
    assert main(["point", masks, "--vocab", "voc", "--out", "strict", "--strict"]) == 1
    assert "two.png" in capsys.readouterr().err


def test_errors_are_two_lines(masks, capsys):
    assert main(["point", masks, "--vocab", "voc"]) == 0
    capsys.readouterr()
    assert main(["point", masks, "--vocab", "voc", "--seed", "1"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "error: runs/point holds a run with other settings: seed is 0 there, 1 now".replace("/", sep(err[0])),
        "hint: --overwrite replaces it, another --out keeps both",
    ]
    assert main(["point", masks, "--vocab", "voc", "--seed", "1", "--overwrite"]) == 0


def sep(line):
    return "\\" if "runs\\point" in line else "/"


def test_debug_adds_the_traceback(capsys):
    assert main(["point", "nowhere", "--debug"]) == 1
    *before, error, _ = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in before and error.startswith("error: data not found")


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (["pont"], 'Unknown command "pont"', 'did you mean "point"'),
        (["point", "--sed", "1"], "Unknown option: --sed", "did you mean --seed"),
        (["point", "--seed", "many"], "--seed", "labelgen point --help lists the flags"),
        (["point", "--drop", "3"], "drop must be a probability in [0, 1], got 3.0", "labelgen point --help"),
        (["point", "--shard", "3"], "--shard must be i/n, got '3'", "--shard 1/3"),
        (["point", "--shard", "4/3"], "1 <= i <= n, got 4/3", "1/3"),
        (["point", "--limit", "-1"], "--limit must be >= 0, got -1", "see labelgen point --help"),
        (["point", "--workers", "0"], "workers must be >= 1, got 0", "1 labels in this process"),
        (["point", "a", "b"], "too many arguments: b; a flag takes one value each time", "labelgen point --help"),
        (
            ["clip", "demo", "--ignore-thresholds", "cat=1", "cow=1", "dog=1"],
            "too many arguments: cow=1 dog=1;",
            "clip --help",
        ),
        (["point", "--config", "absent.toml"], "config file cannot be read: absent.toml", "check its path"),
    ],
)
def test_wrong_usage_gives_exit_code_2_and_names_the_cure(argv, error, hint, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    first, *rest = err.splitlines()
    assert out == "" and first.startswith("error: ") and error in first
    assert len(rest) == 1 and rest[0].startswith("hint: ") and hint in rest[0]


def test_a_bug_is_an_error_with_its_type(monkeypatch, capsys):
    monkeypatch.setattr("labelgen.commands.generate.open_dataset_from", lambda *_: {}["absent"])
    assert main(["point"]) == 1
    assert capsys.readouterr().err.startswith("error: KeyError: 'absent'\nhint: this looks like a bug")


def test_config_file_gives_defaults_and_the_command_line_wins(masks, capsys, tmp_path):
    (tmp_path / "settings.toml").write_text('seed = 4\nvocab = "voc"\n[point]\nradius = 2.0\nmin_area = 3\n')
    assert main(["point", masks, "--config", "settings.toml", "--seed", "9", "--dry-run", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert (config["radius"], config["min_area"]) == (2.0, 3)
    assert main(["point", masks, "--config=settings.toml", "--seed", "9"]) == 0
    assert json.loads((tmp_path / "runs/point/run.json").read_text())["seed"] == 9


def test_config_file_with_an_unknown_key_is_refused(masks, capsys, tmp_path):
    (tmp_path / "settings.toml").write_text("[point]\nradios = 2.0\n")
    assert main(["point", masks, "--config", "settings.toml"]) == 2
    assert "radios" in capsys.readouterr().err


def test_verify_lists_damage_and_fails(masks, capsys, tmp_path):
    main(["point", masks, "--vocab", "voc"])
    (tmp_path / "runs/point/labels/one.png").unlink()
    capsys.readouterr()
    assert main(["verify"]) == 1
    out, err = capsys.readouterr()
    assert out == "labels/one.png: missing (No such file or directory)\n"
    assert err.startswith("error: 1 problem in ")
    assert main(["verify", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["sound"]


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    help_text = capsys.readouterr().out
    assert all(command in help_text for command in ("point", "quality", "verify", "vocabs", "--config"))
    assert main([]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0.1.0"


def test_every_command_that_is_listed_can_be_loaded():
    for name in app:
        if not name.startswith("-"):
            assert app[name].default_command is not None


def test_every_method_is_a_command_with_its_own_help(capsys):
    assert set(METHOD_COMMANDS) == set(METHODS)
    for name, method in METHODS.items():
        assert main([name, "--help"]) == 0
        # the list of commands has a shorter line, which must not replace what a method says of itself
        words = method.config.__doc__.split("Parameters")[0].replace("`", "").split()
        assert words == capsys.readouterr().out.split("\n", 1)[1].split()[: len(words)]


def repository():
    from pathlib import Path

    return Path(__file__).resolve().parents[2]


@pytest.fixture
def signals_are_heard():
    """Children of a job in the background inherit that SIGINT is ignored; these shall hear it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("signals_are_heard")
@pytest.mark.skipif(sys.platform == "win32", reason="signals to a process of one's own console only")
def test_an_interrupted_run_keeps_its_state(tmp_path):
    """As it is typed; tests/crash has both signals for all commands, and what they do when they are typed again."""
    command = [sys.executable, "-m", "labelgen", "point", "--out", str(tmp_path / "run"), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=repository())
    while len(list((tmp_path / "run/labels").glob("*.png"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-2:] == [
        "error: interrupted; what is done is kept",
        "hint: the same command again goes on from there",
    ]
    labelled = len(list((tmp_path / "run/labels").glob("*.png")))
    assert 3 <= labelled < 160
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "running"


def test_shards_are_read_strictly():
    assert parse_shard("2/3") == (2, 3)
    for text in ("", "2", "2/", "/3", "a/3", "2/3/4", "-1/3"):
        with pytest.raises(ConfigError, match="--shard must be i/n"):
            parse_shard(text)


def test_plain_progress_speaks_at_most_every_five_percent(capsys, monkeypatch):
    clock = iter(np.arange(0, 10_000, 1.0))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    lines = _PlainLines("scribble")
    for number in range(1, 201):
        lines(number, 200, "2 failed")
    err = capsys.readouterr().err.splitlines()
    assert 15 <= len(err) <= 20
    assert err[-1].startswith("scribble: 100 % (200/200) ") and err[-1].endswith("2 failed")


def test_speed_is_never_negative(monkeypatch):
    clock = iter(np.arange(0, 100, 1.0))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    speed = _Speed()
    assert [speed.text(done) for done in (1, 2, 3)] == ["1.0/s", "1.0/s", "1.0/s"]
    assert [speed.text(done) for done in (1, 2, 3)] == ["1.0/s", "1.0/s", "1.0/s"]  # something else is counted now


def test_progress_of_a_short_task_is_silent(capsys):
    with progress_bar("verify") as progress:
        progress(1, 1, "")
    assert capsys.readouterr().err == ""


def test_tables_show_brackets_and_long_paths(capsys):
    path = "runs/" + "x" * 90
    print_table(["run", "miou"], [[path, 0.5], ["[bold]", 1]], title="quality")
    out = capsys.readouterr().out
    assert path in out and "[bold]" in out and "quality" in out
    print_table(["", ""], [["images", 1]], title=f"exported: {path}")
    assert f"exported: {path}\n" in capsys.readouterr().out


def test_tokens_for_all_commands_may_stand_anywhere():
    read = frame._Line.read
    assert read(["--debug", "point", "--config", "a.toml", "x"]) == frame._Line(["point", "x"], True, False, "a.toml")
    assert read(["point", "--show-config", "--config=b.toml"]) == frame._Line(["point"], False, True, "b.toml")
    assert read(["point", "--", "--debug"]) == frame._Line(["point", "--", "--debug"])
    assert read(["__complete", "point", "--debug"]) == frame._Line(["__complete", "point", "--debug"])


def test_output_to_a_closed_pipe_is_no_error(tmp_path):
    if shutil.which("head") is None:
        pytest.skip("no head here")
    command = f'"{sys.executable}" -m labelgen point --help | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=repository(), check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr
