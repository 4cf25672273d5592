"""The table of refiners. One import and one line per refiner."""

from labelgen.refine.affinity import AFFINITY
from labelgen.refine.attention import ATTENTION
from labelgen.refine.band import BAND
from labelgen.refine.crf import CRF
from labelgen.refine.debias import DEBIAS
from labelgen.refine.pamr import PAMR
from labelgen.refine.par import PAR
from labelgen.refine.refiner import (
    Pairs,
    Refiner,
    RefineStep,
    fit_refiners,
    make_refiner,
    models_of,
    parse_refiners,
    refined,
    settle_refiners,
)
from labelgen.refine.regions import REGIONS
from labelgen.refine.walk import WALK

__all__ = [
    "REFINERS",
    "Pairs",
    "RefineStep",
    "Refiner",
    "fit_refiners",
    "make_refiner",
    "models_of",
    "parse_refiners",
    "refined",
    "settle_refiners",
]

REFINERS: dict[str, Refiner] = {
    "affinity": AFFINITY,
    "attention": ATTENTION,
    "band": BAND,
    "crf": CRF,
    "debias": DEBIAS,
    "pamr": PAMR,
    "par": PAR,
    "regions": REGIONS,
    "walk": WALK,
}
