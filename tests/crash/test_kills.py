"""SIGKILL at counted and at random moments: the same command again ends with the same bytes, and nothing else."""

import numpy as np
import pytest
from crash.harness import MAY_DIFFER, STAGES, Trial

KILLS = {
    "generate": 15,
    "scribble": 6,
    "two workers": 3,
    "refine": 8,
    "cache": 8,
    "fit": 8,
    "fit in rounds": 4,
}


def test_at_least_fifty_kills_of_all_stages():
    assert sum(KILLS.values()) >= 50 and set(KILLS) == set(STAGES)
    assert MAY_DIFFER == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_killed_commands_end_with_the_same_bytes(zygote, tmp_path, name):
    trial = Trial(zygote, name, tmp_path / "work")
    kinds = ("kill-after",) if name == "two workers" else ("kill", "kill", "tear", "kill-after")
    tally = trial.kill_until(KILLS[name], np.random.default_rng(7), kinds=kinds)
    assert tally.differences == [] and tally.orphans == 0
    assert tally.kills == KILLS[name] and tally.files >= tally.runs > 0


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 5])
def test_a_fit_that_was_killed_while_its_folder_was_begun(zygote, tmp_path, at):
    """There is a folder, or a temporary file in it, but nothing yet that says whose it is."""
    trial = Trial(zygote, "fit", tmp_path / "work")
    folder = trial.fresh("killed")
    assert trial.strike(folder, {"kind": "kill", "at": at})["code"] == -9
    assert (folder / "probes/p").is_dir() and not (folder / "probes/p/fit.json").exists()
    trial.finish(folder)
    assert sorted(path.name for path in (folder / "probes").rglob("*") if path.name.startswith(".")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate", "fit"])
def test_overwriting_can_be_killed(zygote, tmp_path, name):
    trial = Trial(zygote, name, tmp_path / "work")
    folder = trial.fresh("killed")
    trial.finish(folder)
    argv = (*trial.stage.argv, "--overwrite")
    for at in (1, 3, 4, 6, 9, 14, 20):
        assert zygote.run(argv, folder, fault={"kind": "kill", "at": at}, patch=trial.stage.patch)["code"] == -9
    trial.finish_as_undisturbed(folder, argv)


@pytest.mark.slow
def test_a_fit_in_rounds_that_was_killed_after_its_last_round(zygote, tmp_path):
    """Nothing is left to train, but the probe still says what the last loss was."""
    trial = Trial(zygote, "fit in rounds", tmp_path / "work")
    folder = trial.fresh("killed")
    strike = {"kind": "kill-after", "seconds": 0.0, "when": ["probes/p/round-1/round.json", 1]}
    assert trial.strike(folder, strike)["code"] in (-9, 0)
    trial.finish_as_undisturbed(folder)


def test_the_comparison_sees_what_is_missing_extra_or_different(tmp_path):
    trial = object.__new__(Trial)
    from crash.harness import Tally, contents

    trial.tally = Tally()
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    trial.expected = contents(tmp_path)
    (tmp_path / "a").write_text("other")
    (tmp_path / "b").unlink()
    (tmp_path / ".b.1.tmp").write_text("")
    (tmp_path / "empty").mkdir()
    trial.compare(tmp_path)
    assert trial.tally.differences == [".b.1.tmp: extra", "a: different", "b: missing", "empty/: extra"]
