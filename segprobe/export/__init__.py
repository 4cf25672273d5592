"""A probe for use elsewhere: the folded head, an ONNX graph, or a torch.export program, each checked when written."""

from segprobe.export.check import Agreement, ExportError
from segprobe.export.run import FORMATS, ExportReport, export_probe, plan_export

__all__ = ["FORMATS", "Agreement", "ExportError", "ExportReport", "export_probe", "plan_export"]
