"""Names of devices."""

import pytest
import torch

from labelgen.cli import main
from labelgen.errors import ConfigError
from labelgen.nets.device import resolve_device


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto").type == "cuda" and resolve_device("cuda:1").index == 1
    with pytest.raises(ConfigError, match="there are 2 CUDA devices"):
        resolve_device("cuda:2")


def test_what_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch knows no device called 'foo'"):
        resolve_device("foo")
    for name in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"torch finds no {name.upper()} device"):
            resolve_device(name)


@pytest.mark.parametrize(
    "words",
    [
        ["fit-cam", "demo:2", "--out", "x", "--iterations", "1"],
        ["saliency", "demo:2", "--out", "x"],
        ["refine", "run", "--with", "walk:features,device=foo"],
    ],
)
def test_every_command_says_so(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if words[0] == "refine":
        assert main(["point", "demo:2", "--out", "run"]) == 0
    else:
        words = [*words, "--device", "foo"]
    assert main(words) == 2
    assert "error: torch knows no device called 'foo'" in capsys.readouterr().err
