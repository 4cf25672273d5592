"""The run folder: the only thing that labelgen and segprobe hand to each other.

Layout
------
::

    runs/<name>/
      run.json           what was asked for and how far it is; see below
      labels/<id>.png    8-bit PNG, mode P with palette; pixel = class id; 255 = unlabelled
                         (16-bit grey and 65535 = unlabelled above 255 classes)
      scores/<id>.npz    with --save-scores: `scores` float16 (C, H, W) and `class_ids` int32 (C,); never pickled
      strokes/<id>.json  for scribbles and points: the exact geometry
      layers/<name>/<id>.png   for labels put together from several label maps, such as scribble and pseudo of promote:
                         each of them, in the form of labels/<id>.png
      distances/<id>.npz with --save-distances: float16 (H, W) weights in [0, 1] by distance, by the name of the layer
      manifest.jsonl     one line per labelled image, sorted by id
      failures.jsonl     one line per image that could not be labelled, sorted by id; absent when there is none
      contact_sheet.jpg  some of the images with their labels, for people; no part of the labels, in no manifest
      .journal/          only while the run is unfinished: of each process its finished images, one line each, and a
                         lock that says that it is at work

`run.json` holds `format` ("labelgen-run"), `schema` (1), `state` ("running" or "complete"), `method`, `config`,
`supervision` (what the method was allowed to see, and what the run that it refines was), `seed`, `min_score`,
`save_scores`, `vocabulary` (name, classes, background, ignore id, palette), `data` (the data spec, where tags came
from, number of ids and the sha256 of their list), `models` (name to facts, sha256 among them), `versions` of packages
and, once complete, `counts`; where the method has such, also `facts` (what it settled before the first image: prompts,
thresholds, refiners) and `threads` (per process; the last bits of a network depend on it).

A line of `manifest.jsonl` holds `id`, `size` [H, W], `sha256` of the label file, `coverage` in [0, 1], `classes` (class
id to pixels), `warnings`, `details`, and `strokes` (how many), `strokes_sha256`, `scores_sha256`, `distances_sha256`
and `layers` (name to sha256) where there are such files. A line of `failures.jsonl` holds `id`, `error`, `hint`.

Rules
-----
- Every file is written under a temporary name and renamed. An image counts as done when its line is in the journal,
  and the line is written after its files are in place. A torn last line of a journal is ignored: the image is redone,
  and so is one whose files have not the hashes in its line, as may be after a power cut.
- Before a run is called complete, the disk has all its files (see `labelgen.writing`).
- Whoever finishes last, of all processes and shards, finds that every id is done or failed, writes `manifest.jsonl`,
  `failures.jsonl` and, last, `run.json` with state `complete`, and removes the journals. Two may do so at once.
- The same command again finishes what is missing (and retries what failed) and changes nothing else. Other settings in
  the same folder are refused, and so is a folder that is not empty and not a run. Several processes with the same
  settings may work in a run at once; while one does, nobody else can overwrite it.
- No byte depends on order, time, workers, shards or interruptions.
- Ids may contain `/`, but none may leave the folder or be a name that some operating system cannot store.
- Readers refuse other schema versions and malformed files; they never guess.
"""

from labelgen.store.find import newest_run, open_labels
from labelgen.store.header import make_header, read_header
from labelgen.store.layout import check_id
from labelgen.store.lifecycle import at_work, complete_run, look_into, prepare_run, unfinished_ids
from labelgen.store.reader import LabelSource, MaskFolder, RunFolder
from labelgen.store.verify import verify_run
from labelgen.store.writer import RunWriter

__all__ = [
    "LabelSource",
    "MaskFolder",
    "RunFolder",
    "RunWriter",
    "at_work",
    "check_id",
    "complete_run",
    "look_into",
    "make_header",
    "newest_run",
    "open_labels",
    "prepare_run",
    "read_header",
    "unfinished_ids",
    "verify_run",
]
