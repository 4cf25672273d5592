"""Write a static network as ONNX or as a torch.export program, and run the file again."""

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from labelgen.errors import ConfigError
from segprobe.export.network import StaticNetwork

__all__ = ["GRAPHS", "Graph", "need_packages", "run_onnx", "run_program", "write_onnx", "write_program"]

OPSET = 18  # the first that torch's exporter writes itself, without a conversion that may fail
INPUT = "image"
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def write_onnx(network: StaticNetwork, path: Path, *, facts: Mapping[str, Any], dynamic_batch: bool) -> None:
    """Write an ONNX file with `facts` as JSON in its metadata, under the key `segprobe`."""
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of what it calls itself
        program = torch.onnx.export(
            network,
            (network.example(2 if dynamic_batch else 1),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(network.names),
            dynamic_shapes=_shapes(dynamic_batch),
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export gave no program")
        model = program.model_proto
    onnx.helper.set_model_props(model, {"segprobe": json.dumps(facts)})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def run_onnx(path: Path) -> Callable[[UInt8[np.ndarray, "H W 3"]], tuple[np.ndarray, ...]]:
    """Open an ONNX file as a function of one picture."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kind = session.get_inputs()[0].type

    def run(picture: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, ...]:
        given = _as_input(picture, "uint8" if "uint8" in kind else "unit")
        return tuple(output[0] for output in session.run(None, {INPUT: given}))  # type: ignore[index]

    return run


def write_program(network: StaticNetwork, path: Path, *, facts: Mapping[str, Any], dynamic_batch: bool) -> None:
    """Write a torch.export program (.pt2) with `facts` as the extra file `segprobe.json`."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        example = network.example(2 if dynamic_batch else 1)
        program = torch.export.export(network, (example,), dynamic_shapes=_shapes(dynamic_batch))
        torch.export.save(program, path, extra_files={"segprobe.json": json.dumps(facts)})


def run_program(path: Path) -> Callable[[UInt8[np.ndarray, "H W 3"]], tuple[np.ndarray, ...]]:
    """Open a .pt2 file as a function of one picture."""
    extra = {"segprobe.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(path, extra_files=extra).module()
    kind = json.loads(extra["segprobe.json"])["input"]

    def run(picture: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return tuple(output[0].numpy() for output in module(torch.from_numpy(_as_input(picture, kind))))

    return run


def _shapes(dynamic_batch: bool) -> Any:
    return ({0: torch.export.Dim("batch", min=1)},) if dynamic_batch else None


def _as_input(picture: UInt8[np.ndarray, "H W 3"], kind: str) -> np.ndarray:
    """One picture as a batch of the kind that the graph takes."""
    if kind == "uint8":
        return picture[None]
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def need_packages(names: tuple[str, ...]) -> None:
    """Refuse to begin without them.

    Raises
    ------
    ConfigError
        With the command that installs them.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"this export needs {', '.join(missing)}", hint='pip install "labelgen[export]"')


@dataclass(frozen=True)
class Graph:
    """How a kind of graph is written and run again.

    Parameters
    ----------
    suffix
        Of the file.
    write, run
        Functions of this module.
    packages
        That it needs besides those of segprobe.
    """

    suffix: str
    write: Callable[..., None]
    run: Callable[[Path], Any]
    packages: tuple[str, ...] = ()


GRAPHS = {
    "onnx": Graph(".onnx", write_onnx, run_onnx, ONNX_PACKAGES),
    "torch": Graph(".pt2", write_program, run_program),
}
