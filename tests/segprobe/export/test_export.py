import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from labelgen.errors import ConfigError, RunFolderError, WeightsError
from labelgen.nets import backbones
from segprobe.export import ExportError, export_probe, folded, run
from segprobe.export.check import check_pictures, compare_with
from segprobe.export.folded import apply_folded
from segprobe.export.graphs import need_packages, run_onnx, run_program
from segprobe.predict import Predictor
from segprobe.probe_file import open_probe, save_probe
from tests.segprobe.export.test_network import backbone_of, probe_on

SIZE = (40, 52)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Saves a probe on a backbone of random weights, and lets it be loaded without a file."""

    def save(head="linear", name="test_vit", **settings):
        backbone = backbone_of(name, policy="native", **settings)
        save_probe(tmp_path / "probe", probe_on(backbone, head))
        monkeypatch.setattr(backbones, "load_backbone", lambda config, device: backbone)
        return tmp_path / "probe", backbone

    monkeypatch.chdir(tmp_path)
    return save


@pytest.mark.parametrize("head", ["linear", "mlp", "conv", "projection"])
def test_the_folded_head_acts_on_raw_tokens(saved, head, tmp_path):
    path, backbone = saved(head)
    report = export_probe(path, out=tmp_path / "head.safetensors")
    assert report.difference < 5e-5  # of logits up to 10
    description = json.loads((tmp_path / "head.json").read_text(encoding="utf-8"))
    assert [c["name"] for c in description["classes"]] == ["background", "green", "cyan"]
    assert description["backbone"]["weights_sha256"] == backbone.spec.weights_sha256
    tokens = torch.randn(1, 5, 6, backbone.spec.dim, generator=torch.Generator().manual_seed(3))
    tensors = load_file(tmp_path / "head.safetensors")
    assert not {"mean", "std"} & set(tensors)
    found = apply_folded(description["formula"], tensors, tokens)
    torch.testing.assert_close(found, open_probe(path).head(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", ["prototype", "knn"])
def test_heads_that_rescale_tokens_have_no_folded_form(saved, head):
    path, _ = saved(head)
    with pytest.raises(ConfigError, match=f"head {head} scales every token to length 1") as caught:
        export_probe(path)
    assert "onnx" in caught.value.hint


def test_a_folded_head_that_disagrees_is_not_kept(saved, tmp_path, monkeypatch):
    path, _ = saved()

    def wrong(head, *, name):
        return "matrix", {"weight": head.classify.weight.detach(), "bias": head.classify.bias.detach()}

    monkeypatch.setattr(folded, "folded_tensors", wrong)
    with pytest.raises(ExportError, match="the folded head must give the logits"):
        export_probe(path, out=tmp_path / "head.safetensors")
    assert not (tmp_path / "head.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "name", "settings"),
    [
        ("linear", "test_vit", {}),
        ("conv", "test_vit", {"layers": (0, 1)}),  # blocks after the last one asked for are left out
        ("knn", "test_vit", {"layers": (0,)}),
        ("linear", "test_efficientnet", {"layers": (-2, -1)}),
    ],
)
def test_an_onnx_graph_agrees_and_says_what_it_is(saved, head, name, settings, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path, backbone = saved(head, name, **settings)
    report = export_probe(path, format="onnx", size=SIZE)
    assert report.out.name == "probe.onnx" and report.size == SIZE
    assert report.difference < 1e-3 and report.agreement > 0.999
    model = onnx.load(str(report.out))
    assert max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) >= 17
    if name == "test_vit":  # positions are constants: nothing is interpolated
        assert not {"Resize", "Upsample", "GridSample"} & {node.op_type for node in model.graph.node}
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["segprobe"])
    assert (facts["size"], facts["outputs"], facts["input"]) == ([*SIZE], ["logits", "labels"], "uint8")
    picture = check_pictures(SIZE, np.random.default_rng(7))[0]
    logits, labels = run_onnx(report.out)(picture)
    predictor = Predictor(open_probe(path), backbone)
    assert np.array_equal(labels, predictor.labels([picture])[0]) and labels.dtype == np.uint8
    np.testing.assert_allclose(logits, predictor.logits([picture])[0].permute(2, 0, 1), atol=1e-3)
    with pytest.raises(RunFolderError, match="is there already"):
        export_probe(path, format="onnx", size=SIZE)


@pytest.mark.slow
def test_an_onnx_graph_takes_any_number_of_images_when_it_may(saved):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path, backbone = saved(layers=(0,))
    report = export_probe(path, format="onnx", size=SIZE, outputs="probabilities", kind="unit", dynamic_batch=True)
    session = onnxruntime.InferenceSession(str(report.out), providers=["CPUExecutionProvider"])
    pictures = check_pictures(SIZE, np.random.default_rng(1))[:3]
    given = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    (found,) = session.run(None, {"image": given})
    predictor = Predictor(open_probe(path), backbone)
    for planes, picture in zip(found, pictures, strict=True):
        np.testing.assert_allclose(planes, predictor.probabilities(picture), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dynamic"), [("test_vit", False), ("demo-ssvt", True)])
def test_a_program_agrees(saved, name, dynamic):
    path, backbone = saved("linear", name)
    report = export_probe(path, format="torch", size=SIZE, outputs="logits", dynamic_batch=dynamic)
    assert report.out.name == "probe.pt2" and report.difference < 1e-4
    picture = check_pictures(SIZE, np.random.default_rng(5))[0]
    (logits,) = run_program(report.out)(picture)
    predictor = Predictor(open_probe(path), backbone)
    np.testing.assert_allclose(logits, predictor.logits([picture])[0].permute(2, 0, 1), atol=1e-4)
    if dynamic:
        batch = torch.zeros(3, *SIZE, 3, dtype=torch.uint8)
        assert torch.export.load(report.out).module()(batch)[0].shape == (3, 3, *SIZE)


def test_a_graph_that_disagrees_is_refused(saved, tmp_path, monkeypatch):
    path, backbone = saved()
    predictor = Predictor(open_probe(path), backbone)

    def off_by(amount):
        return lambda picture: (predictor.logits([picture])[0].permute(2, 0, 1).numpy() + np.float32(amount),)

    assert compare_with(predictor, off_by(5e-4), SIZE, outputs="logits", where="").agreement == 1
    with pytest.raises(ExportError, match=r"differences up to 0\.002"):
        compare_with(predictor, off_by(2e-3), SIZE, outputs="logits", where="")
    swapped = lambda picture: (off_by(0)(picture)[0], predictor.labels([picture[::-1]])[0])  # noqa: E731
    with pytest.raises(ExportError, match="of the pixels with the same class"):
        compare_with(predictor, swapped, SIZE, outputs="argmax", where="")
    monkeypatch.setitem(run.GRAPHS, "torch", run.Graph(".pt2", write_nothing, lambda path: off_by(1)))
    with pytest.raises(ExportError, match="differences up to 1 "):
        export_probe(path, format="torch", size=SIZE, outputs="logits", out=tmp_path / "a" / "probe.pt2")
    assert not list((tmp_path / "a").iterdir())


def test_what_torch_cannot_write_is_said_in_a_sentence(saved, monkeypatch):
    path, _ = saved()

    def fail(network, path, **more):
        raise NotImplementedError("no such operator\nand a long story")

    monkeypatch.setitem(run.GRAPHS, "torch", run.Graph(".pt2", fail, run_program))
    with pytest.raises(ExportError, match=r"test_vit with head linear: NotImplementedError: no such operator$"):
        export_probe(path, format="torch", size=SIZE)


def write_nothing(network, path, *, facts, dynamic_batch):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"format": "tflite"}, "format must be one of safetensors, onnx, torch, got 'tflite'"),
        ({"format": "torch", "outputs": "colours"}, "classes must be one of logits, probabilities, argmax"),
        ({"format": "torch", "kind": "float16"}, "input must be one of uint8, unit"),
        ({"format": "torch", "out": "probe.onnx"}, r"must end in \.pt2, got probe\.onnx"),
        ({"format": "torch"}, "a graph has one"),
        ({"size": (56, 56)}, "are of a graph; safetensors holds the head alone"),
        ({"outputs": "logits"}, "are of a graph; safetensors holds the head alone"),
    ],
)
def test_what_makes_no_sense_is_refused(saved, settings, sentence):
    from pathlib import Path

    path, _ = saved()
    if "out" in settings:
        settings = {**settings, "out": Path(settings["out"])}
    with pytest.raises(ConfigError, match=sentence):
        export_probe(path, **settings)


def test_missing_packages_are_named_with_the_command_that_installs_them():
    with pytest.raises(ConfigError, match="needs no_such_package") as caught:
        need_packages(("json", "no_such_package"))
    assert caught.value.hint == 'pip install "labelgen[export]"'


def test_another_backbone_is_refused(saved, monkeypatch):
    path, _ = saved()
    other = backbone_of(policy="native", layers=(0,))
    monkeypatch.setattr(backbones, "load_backbone", lambda config, device: other)
    with pytest.raises(WeightsError, match="trained on other features: layers"):
        export_probe(path, format="torch", size=SIZE)
