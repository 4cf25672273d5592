"""Class-driven scribble promotion: tags read off scribbles, pseudo-labels made from the tags, both merged."""

from labelgen.promote.job import PromoteConfig, promote_job, pseudo_of_classifier, pseudo_of_labels
from labelgen.promote.merge import keep_classes, merge_labels
from labelgen.promote.tags import TaggedByScribbles, tags_of

__all__ = [
    "PromoteConfig",
    "TaggedByScribbles",
    "keep_classes",
    "merge_labels",
    "promote_job",
    "pseudo_of_classifier",
    "pseudo_of_labels",
    "tags_of",
]
