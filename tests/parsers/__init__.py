"""Every place where a file is read: a valid example of the file, and a function that reads it.

The tests of hostile input and `benchmarks/fuzz.py` go through the same table. Whatever the bytes, a reader raises one
of `labelgen.errors` or nothing.
"""

from parsers import archives, documents, networks, pictures, runs

PARSERS = {
    **pictures.PARSERS,
    **documents.PARSERS,
    **runs.PARSERS,
    **archives.PARSERS,
    **networks.PARSERS,
}
