"""Images of a finished run made again from what its run.json says, and compared with what is there byte for byte."""

from labelgen.regenerate.compare import Regenerated, choose_ids, regenerate
from labelgen.regenerate.jobs import job_of_run

__all__ = ["Regenerated", "choose_ids", "job_of_run", "regenerate"]
