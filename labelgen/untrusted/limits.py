"""How much a file of a stranger may ask for before it is refused.

What is refused is refused before its content is unpacked. What is accepted takes at most what is said here, beside a
few tens of MB for the decoder.
"""

__all__ = [
    "DEEPEST_XML",
    "LARGEST_ARRAYS",
    "LARGEST_DOCUMENT",
    "LARGEST_INDEX",
    "LARGEST_TOML",
    "LARGEST_XML",
    "LONGEST_OUTLINE",
    "MOST_PIXELS",
    "MOST_TOML_PARTS",
]

MOST_PIXELS = 2**27
"""Of one picture, 134 million, as 11,000 x 12,000. Decoded: 0.13 GB for ids, 0.4 GB for colours; four times that
while they are converted."""

LARGEST_DOCUMENT = 2**26
"""Bytes of a JSON file about one image, one run or one model, 67 MB."""

LARGEST_INDEX = 2**31
"""Bytes of a JSON file about all images of a data set; `instances_train2017.json` of COCO has 0.45 GB."""

LARGEST_TOML = 2**20
"""Bytes of a vocabulary or config file; 20,000 classes with a prompt each fit."""

MOST_TOML_PARTS = 100
"""Dots in one key of TOML: the standard library takes time by their square."""

LARGEST_XML = 2**24
"""Bytes of the XML of one image, 17 MB."""

DEEPEST_XML = 100
"""Nodes of XML within each other; PASCAL VOC has four."""

LARGEST_ARRAYS = 2**31
"""Bytes of all arrays of one file, unpacked; scores of 150 classes at 2 megapixels in float16 have 0.6 GB."""

LONGEST_OUTLINE = 2**22
"""Pixels along one polygon; drawing it takes about 100 bytes for each."""
