"""Work on a Ray cluster: actors that each load the weights once and take chunks of image ids.

Why actors and not Ray Data
---------------------------
Ray Data streams rows through its object store and keeps, for resuming a job, a checkpoint of the row ids that reached
its sink. A run folder has better markers already: each image is a file that is renamed into place and a line in a
journal, whoever makes it (see `labelgen.store`). With actors these stay the only markers, so that a run begun by one
engine is finished by the other, that shards of a batch scheduler and a cluster share one folder, and that what a dead
actor had finished is not made again. Rows would gain nothing: between processes pass only ids, and back only the
records of images; pixels are read and masks are written where they are computed. Decoding, compute and writing overlap
within each actor by `labelgen.pipeline`, the loop that local processes run, so that both engines give the same bytes.

Rules
-----
- All machines see the same files under the same paths, and have the same versions of all that changes bytes; every
  actor is asked before it gets work (`worker`, `witness`).
- A chunk whose actor dies goes to a fresh one, without the images that are finished; three deaths without progress
  are an error (`crew`).
- Whoever leaves early, by an error or Ctrl-C, kills the actors; as after any kill, the same command again goes on.
- `ray` is imported when it is asked for, and not before.
"""

from labelgen.cluster.crew import Work, work_through
from labelgen.cluster.session import connected, import_ray
from labelgen.cluster.witness import Token, Witness

__all__ = ["Token", "Witness", "Work", "connected", "import_ray", "work_through"]
