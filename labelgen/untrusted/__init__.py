"""Readers for files of strangers: JSON, TOML, XML, arrays, archives and pictures that keep to stated bounds.

Each reader raises `ValueError` (or `OSError`) in plain words and nothing else, whatever the bytes are; who calls it
knows what the file is for and makes one of `labelgen.errors` of it.
"""

from labelgen.untrusted.arrays import check_zip, is_zip, read_npy_array, read_npz_arrays
from labelgen.untrusted.documents import parse_json, parse_toml, parse_xml, read_bounded
from labelgen.untrusted.limits import LARGEST_DOCUMENT, LARGEST_INDEX, MOST_PIXELS
from labelgen.untrusted.names import is_plain_name
from labelgen.untrusted.pickles import check_pickle
from labelgen.untrusted.pictures import opened_picture

__all__ = [
    "LARGEST_DOCUMENT",
    "LARGEST_INDEX",
    "MOST_PIXELS",
    "check_pickle",
    "check_zip",
    "is_plain_name",
    "is_zip",
    "opened_picture",
    "parse_json",
    "parse_toml",
    "parse_xml",
    "read_bounded",
    "read_npy_array",
    "read_npz_arrays",
]
