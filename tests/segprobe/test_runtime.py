import json

import pytest
import torch
from processes import Command

from labelgen.errors import ConfigError
from segprobe.cli import main
from segprobe.runtime import ALONE, runtime_from_environment

FIT = ["fit", "truth", "--data", "demo:5", "--epochs", "3", "--batch-size", "2", "--pixels", "64"]
MORE = ["--feature-dropout", "0.2", "--ema", "0.5", "--device", "cpu", "--size", "64"]


def test_alone_adds_nothing():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    ALONE.sum_gradients([parameter])
    assert ALONE.sum(1.0, 2.0) == (1.0, 2.0)
    assert parameter.grad.tolist() == [3.0, 3.0]
    assert ALONE.is_main


def test_variables_of_torchrun_that_make_no_sense(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="whole numbers"), runtime_from_environment():
        pass


@pytest.mark.slow
def test_two_processes_end_with_the_head_of_one(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    words = [*FIT, *MORE]
    assert main([*words, "--out", "probe-1", "--cache", "cache-1"]) == 0
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "segprobe"]
    assert "probe-2" in Command([*launch, *words, "--out", "probe-2", "--cache", "cache-2"], tmp_path).done()
    heads = [load_file(tmp_path / f"probe-{world}" / "probe.safetensors") for world in (1, 2)]
    for name, tensor in heads[0].items():
        assert torch.allclose(tensor, heads[1][name], atol=1e-5), name
    metrics = [
        [json.loads(line) for line in (tmp_path / f"probe-{world}" / "metrics.jsonl").read_text().splitlines()]
        for world in (1, 2)
    ]
    assert [m["step"] for m in metrics[0]] == [m["step"] for m in metrics[1]]
    assert [m["loss"] for m in metrics[0]] == pytest.approx([m["loss"] for m in metrics[1]], rel=1e-5)
    shards = [sorted(p.name for p in (tmp_path / f"cache-{w}").rglob("*.bin")) for w in (1, 2)]
    assert shards[0] == shards[1]
