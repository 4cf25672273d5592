"""SIGINT and SIGTERM: the exit codes of shells, a state that resumes to the same bytes, no process and no file left."""

import signal

import pytest
from crash.harness import Trial, contents

SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
MOMENTS = {  # of each stage: when some of it is done
    "generate": ("runs/a/labels/**/*.png", 1),
    "two workers": ("runs/a/labels/**/*.png", 2),
    "cache": ("cache/*/*.done", 1),
    "fit": ("probes/p/last.pt", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code", "word"), SIGNALS)
@pytest.mark.parametrize("name", MOMENTS)
def test_signals_end_a_command_in_order(zygote, tmp_path, name, sign, code, word):
    trial = Trial(zygote, name, tmp_path / "work")
    folder = trial.fresh("signalled")
    moment = {"kind": "signal-after", "seconds": 0.0, "signal": int(sign), "when": MOMENTS[name]}
    found = trial.strike(folder, {**moment, "group": name == "two workers"})  # schedulers signal all processes
    assert found["code"] == code, found["log"]
    assert f"error: {word}; what is done is kept\nhint: the same command again goes on from there\n" in found["log"]
    assert found["alone"]
    left = [path for path in contents(folder) if path.endswith((".tmp", ".lock"))]
    assert left == [] or name == "two workers"  # SIGTERM ends workers at once; the next command sweeps after them
    trial.finish_as_undisturbed(folder)
