"""Two processes on one folder at once: they share the work, to the same bytes, or one is refused and told why."""

import concurrent.futures
import re
import signal
import time

import pytest
from crash.harness import STAGES, Trial, contents


@pytest.fixture(scope="module")
def other(tmp_path_factory, zygote):
    for name in ("generate", "refine", "cache", "fit"):
        Trial(zygote, name, tmp_path_factory.mktemp("warm") / name)
    found = zygote.twin(tmp_path_factory.mktemp("other"))
    yield found
    found.close()


def at_once(*calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate", "refine", "cache"])
def test_the_same_command_twice(zygote, other, tmp_path, name):
    trial = Trial(zygote, name, tmp_path / "work")
    folder, stage = trial.fresh("both"), trial.stage
    both = at_once(*(lambda each=each: each.run(stage.argv, folder, patch=stage.patch) for each in (zygote, other)))
    assert [found["code"] for found in both] == [0, 0], both
    trial.compare(folder)
    assert trial.tally.differences == []


@pytest.mark.slow
def test_one_is_killed_while_the_other_goes_on(zygote, other, tmp_path):
    trial = Trial(zygote, "cache", tmp_path / "work")
    folder, stage = trial.fresh("both"), trial.stage
    strike = {"kind": "kill-after", "seconds": 0.0, "when": ["cache/*/*.lock", 1]}
    killed, done = at_once(
        lambda: zygote.run(stage.argv, folder, patch=stage.patch, fault=strike),
        lambda: other.run(stage.argv, folder, patch=stage.patch),
    )
    assert killed["code"] in (-9, 0) and done["code"] == 0, (killed, done)
    trial.finish_as_undisturbed(folder)


@pytest.mark.slow
def test_two_fits_of_one_probe(zygote, other, tmp_path):
    """The first one is stopped in the midst, so that the second surely finds it at work."""
    trial = Trial(zygote, "fit", tmp_path / "work")
    folder, stage = trial.fresh("both"), trial.stage
    refused = second_while_first_holds(zygote, other, folder, stage.argv, stage.argv, "probes/p/last.pt", stage.patch)
    assert refused["code"] == 1, refused["log"]
    error, hint = refused["log"].splitlines()[-2:]
    assert re.fullmatch(r"error: another process is at work in probes/p \(process \d+ on \S+\)", error)
    assert hint == "hint: wait for it, end it, or choose another --out"
    trial.finish_as_undisturbed(folder)


@pytest.mark.slow
def test_other_settings_are_refused_and_nobody_is_overwritten_at_work(zygote, other, tmp_path):
    trial = Trial(zygote, "generate", tmp_path / "work")
    argv, first = STAGES["generate"].argv, "runs/a/labels/**/*.png"
    words = [*argv[:4], "0.4", *argv[5:]]
    cases = {(): "holds a run with other settings: config.level is 0.2 there, 0.4 now"}
    cases["--overwrite",] = "another process is at work in runs/a (process "
    for extra, message in cases.items():
        folder = trial.fresh("both")
        refused = second_while_first_holds(zygote, other, folder, argv, [*words, *extra], first, {})
        assert refused["code"] == 1 and message in refused["log"], refused["log"]
        trial.finish_as_undisturbed(folder)
    assert other.run([*words, "--overwrite"], folder)["code"] == 0  # it has ended
    assert contents(folder) != trial.expected


def second_while_first_holds(zygote, other, folder, argv, second, when, patch):
    """What a second command says while the first, which is stopped as soon as there is such a file, is at work."""
    release = folder.with_name("release")
    release.unlink(missing_ok=True)
    stop = {"kind": "signal-after", "seconds": 0.0, "signal": int(signal.SIGSTOP), "when": [when, 1]}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(zygote.run, argv, folder, fault={**stop, "release": str(release)}, patch=patch)
        wait_for(lambda: any(folder.glob(when)))
        found = other.run(second, folder, patch=patch, log="second")
        release.touch()  # the first is killed
        assert first.result()["code"] == -9
    return found


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.1)
