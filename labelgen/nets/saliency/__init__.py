"""Saliency maps: which pixels belong to some object, whatever it is; read from files or made without training."""

from labelgen.nets.saliency.folder import read_saliency
from labelgen.nets.saliency.source import PROVIDERS, SaliencySource, open_saliency

__all__ = ["PROVIDERS", "SaliencySource", "open_saliency", "read_saliency"]
