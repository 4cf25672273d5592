"""Images and what is known about them: samples, data sets, and the readers of each layout on disk."""

from labelgen.data.dataset import Dataset, DataSpec
from labelgen.data.open import open_data, reopen
from labelgen.data.sample import SUPERVISION, Generate, Refine, Sample

__all__ = ["SUPERVISION", "DataSpec", "Dataset", "Generate", "Refine", "Sample", "open_data", "reopen"]
