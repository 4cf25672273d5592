"""Every command of both programs: help that a person can use, exit codes, one JSON document, plans, speed."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labelgen.cli import app as labelgen_app
from labelgen.cli import main as labelgen
from labelgen.commands.defaults import flags_of
from labelgen.commands.frame import _Line, examples_in
from segprobe.cli import app as segprobe_app
from segprobe.cli import main as segprobe

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"labelgen": (labelgen_app, labelgen), "segprobe": (segprobe_app, segprobe)}
COMMANDS = [(program, name) for program, (app, _) in PROGRAMS.items() for name in app if not name.startswith("-")]
EACH = pytest.mark.parametrize(("program", "name"), COMMANDS, ids=[f"{p}-{n}" for p, n in COMMANDS])

ABSENT = "no/such/input"
MISSING = {  # what is missing, for commands that it cannot be said of by a first argument
    ("labelgen", "clip-models"): ["--all", ABSENT],
    ("labelgen", "export"): [ABSENT, "--to", "psa"],
    ("labelgen", "import"): [ABSENT, "--from", "psa"],
    ("labelgen", "promote"): [ABSENT],
    ("labelgen", "refine"): [ABSENT, "--with", "pamr"],
    ("labelgen", "sweep"): ["point", ABSENT, "--n", "1,2"],
    ("segprobe", "backbones"): ["--all", ABSENT],
    ("segprobe", "cache"): [ABSENT],
    ("segprobe", "demo"): ["--head", ABSENT],
    ("segprobe", "paper"): ["--table", ABSENT],
}
LOAD_FIRST = {("labelgen", "clip-models"), ("segprobe", "backbones"), ("segprobe", "tokens")}
NOTHING_TO_MISS = {("labelgen", "doctor")}  # takes no input
PLANS = {  # commands that write something which takes long
    "labelgen": (
        *("box", "cam", "clip", "clip-es", "corrupt", "point", "scribble", "zeroseg"),
        *("export", "fit-cam", "fit-zeroseg", "import", "promote", "refine", "saliency", "sweep"),
    ),
    "segprobe": ("cache", "compare", "crossfit", "demo", "export", "fit", "predict"),
}
RUNS = {  # commands that write a run
    "labelgen": (
        *("box", "cam", "clip", "clip-es", "corrupt", "point", "scribble", "zeroseg"),
        *("import", "promote", "refine", "sweep"),
    ),
    "segprobe": ("crossfit", "predict"),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command_of(program, name):
    return PROGRAMS[program][0][name]


def examples(program, name):
    return examples_in(command_of(program, name).default_command, program)


def test_there_are_commands():
    assert len(COMMANDS) >= 30


@EACH
def test_help_says_what_flags_do_and_ends_in_examples(program, name, capsys):
    assert PROGRAMS[program][1]([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith(f"Usage: {program} {name}")
    plain = " ".join(out.split())
    assert "Examples: " in plain and "--config FILE.toml" in plain and f"{program.upper()}_COMMAND_FLAG" in plain
    for line in examples(program, name):
        assert " ".join(line.split()) in plain.replace("\u2022 ", "").replace("- ", "- ")
    for key, argument in flags_of(command_of(program, name).assemble_argument_collection(parse_docstring=True)).items():
        assert argument.parameter.help, f"--{key} of {program} {name} has no help"


@EACH
def test_examples_can_be_typed(program, name):
    """Each parses, flags and their values included; nothing is run."""
    app, lines = PROGRAMS[program][0], examples(program, name)
    assert lines, f"{program} {name} has no examples"
    assert lines[0].split()[1] == name or len(lines) > 1
    for line in lines:
        first, *tokens = shlex.split(line, comments=True)
        assert first == program and tokens[0] == name, line
        app.parse_args(_Line.read(tokens).rest, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_show_examples_too(program, capsys):
    assert PROGRAMS[program][1](["--help"]) == 0
    assert f"{program} COMMAND --help" in capsys.readouterr().out


@EACH
def test_a_wrong_flag_is_wrong_usage(program, name, capsys):
    assert PROGRAMS[program][1]([name, "--no-such-flag", "1"]) == 2
    two_lines(capsys)


@pytest.mark.parametrize(
    ("program", "name"),
    [pytest.param(*row, marks=[pytest.mark.slow] if row in LOAD_FIRST else [], id="-".join(row)) for row in COMMANDS],
)
def test_a_missing_input_is_an_error_of_two_lines(program, name, capsys, tmp_path):
    if (program, name) in NOTHING_TO_MISS:
        return
    code = PROGRAMS[program][1]([name, *MISSING.get((program, name), [ABSENT])])
    assert code in (1, 2)
    two_lines(capsys)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def two_lines(capsys):
    out, err = capsys.readouterr()
    error, hint = err.splitlines()[-2:]
    assert out == "" and error.startswith("error: ") and hint.startswith("hint: ") and len(hint) > len("hint: ")


@EACH
def test_every_command_can_print_json(program, name):
    names = {flag for argument in command_of(program, name).assemble_argument_collection() for flag in argument.names}
    assert "--json" in names


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_takes_long_can_be_planned(program):
    flags = {
        name: flags_of(command_of(program, name).assemble_argument_collection()) for p, name in COMMANDS if p == program
    }
    assert {name for name in PLANS[program] if "dry-run" not in flags[name]} == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_writes_a_run_leaves_a_contact_sheet_unless_told_not_to(program):
    flags = {
        name: flags_of(command_of(program, name).assemble_argument_collection()) for p, name in COMMANDS if p == program
    }
    assert {name for name in flags if "sheet" in flags[name]} == set(RUNS[program])
    assert all(flags[name]["sheet"].field_info.default is True for name in RUNS[program])


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_at_once_and_without_torch(program):
    code = f"import sys; from {program}.cli import main; main(['--help']); "
    code += "print([m for m in ('torch', 'numpy', 'scipy', 'numba') if m in sys.modules], file=sys.stderr)"
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
        seconds.append(time.perf_counter() - begin)
    assert done.stderr.splitlines()[-1] == "[]"
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    slowness = max(1.0, (time.perf_counter() - begin) / 0.12)  # of this machine now
    assert min(seconds) < 0.5 * slowness
