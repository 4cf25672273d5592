"""Small files that ask for much are refused before anything is reserved, within a bound on memory and on time."""

import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from parsers import PARSERS
from parsers.documents import COCO, VOC_XML
from parsers.parser import dumped, npz, png
from parsers.runs import run_files

from labelgen.errors import LabelgenError
from labelgen.untrusted.limits import LARGEST_ARRAYS, MOST_PIXELS

ALLOWED = 150 * 2**20  # bytes that refusing all files of this module may add to the peak of the process
ADDRESSES = 6 * 2**30  # bytes of address space; libraries of a command take two
SECONDS = 60  # for all files; each takes milliseconds


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(height, width, *, colour=0):
    """A PNG whose header announces so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    rows = zlib.compress(bytes(2**16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bmp_of(height, width):
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def npy_header(shape, dtype="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zip_with(name, content, *, claims=0, compress=zipfile.ZIP_DEFLATED):
    """A zip of one file, which claims to have another size when it is unpacked."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compress) as archive:
        archive.writestr(name, content)
    raw = bytearray(stream.getvalue())
    if claims:
        place = raw.index(b"PK\x01\x02")
        raw[place + 24 : place + 28] = struct.pack("<I", claims)
    return bytes(raw)


def tar_with(size_field):
    """A tar whose first header has this field for the size of the file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    raw = bytearray(stream.getvalue())
    raw[124:136] = size_field
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


LAUGHS = b"<!DOCTYPE a [<!ENTITY a0 'ha'>" + b"".join(
    b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)
)
LAUGHS += b"]><annotation><object><name>&a9;</name></object></annotation>"
OUTSIDE = (
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>'
)
LONG_ENTITY = b"<!DOCTYPE a [<!ENTITY x '" + b"x" * 10**5 + b"'>]><annotation>" + b"&x;" * 10**4 + b"</annotation>"


def coco(**changes):
    """The COCO example with other fields of its first image or annotation."""
    document = json.loads(json.dumps(COCO))
    for key, value in changes.items():
        document["images" if key in ("height", "width", "file_name") else "annotations"][0][key] = value
    return dumped(document)


def safetensors(header, *, length=None):
    text = header if isinstance(header, bytes) else dumped(header)
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(16)


def tensor(shape, end):
    return {"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}


FAR = [[0, 0, 1e9, 0, 1e9, 1e9]]
LONG = [c for n in range(10**5) for c in (n % 2 * 7, n % 3)]
# a list of 4,000 calls of _codecs.encode, all of one text of a megabyte
SAME_AGAIN = (
    b"\x80\x02c_codecs\nencode\nq\0X\0\0\x10\0"
    + b"a" * 2**20
    + b"q\x01X\x06\0\0\0latin1q\x02]("
    + b"h\0h\x01h\x02\x86R" * 4000
) + b"e."
BOMBS = {
    "mask of 3.6 billion pixels": ("mask", lambda: png_of(60_000, 60_000)),
    "mask in one line": ("mask", lambda: png_of(1, 2**31 - 1)),
    "mask just over the bound": ("mask", lambda: png_of(2**14, MOST_PIXELS // 2**14 + 1)),
    "mask of colours": ("colour-mask", lambda: png_of(60_000, 60_000, colour=2)),
    "image of 3.6 billion pixels": ("image", lambda: png_of(60_000, 60_000, colour=2)),
    "image of another format": ("image", lambda: bmp_of(60_000, 60_000)),
    "image by a program": ("image", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
    "saliency of 3.6 billion pixels": ("unit-map-png", lambda: png_of(60_000, 60_000)),
    "label of 3.6 billion pixels": ("run-labels", lambda: png_of(60_000, 60_000)),
    "text in a PNG": (
        "mask",
        lambda: (
            png(np.zeros((2, 2), np.uint8))[:33]
            + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))
            + png(np.zeros((2, 2), np.uint8))[33:]
        ),
    ),
    "array of 4 TB": ("unit-map-npy", lambda: npy_header((2**20, 2**20)) + b"\0" * 64),
    "array of 4 TB in a zip": ("unit-map-npz", lambda: zip_with("x.npy", npy_header((2**20, 2**20)) + bytes(64))),
    "array of more than all memory": ("unit-map-npy", lambda: npy_header((2**62, 2**62)) + b"\0" * 64),
    "array with a negative side": ("unit-map-npy", lambda: npy_header((-1, -16)) + b"\0" * 64),
    "zip that claims 4 GB": ("unit-map-npz", lambda: zip_with("x.npy", npy_header((4,)) + bytes(16), claims=2**32 - 2)),
    "zip that claims little": (
        "unit-map-npz",
        lambda: zip_with("x.npy", npy_header((2**26,)) + bytes(2**26), claims=99),
    ),
    "zip packed by bzip2": (
        "unit-map-npz",
        lambda: zip_with("x.npy", npy_header((2**26,)) + bytes(2**26), claims=99, compress=zipfile.ZIP_BZIP2),
    ),
    "zip packed by LZMA": (
        "run-scores",
        lambda: zip_with("scores.npy", npy_header((2**26,)) + bytes(2**26), claims=99, compress=zipfile.ZIP_LZMA),
    ),
    "archive packed by bzip2": (
        "voc",
        lambda: zip_with("SegmentationClass/a.png", bytes(2**26), claims=99, compress=zipfile.ZIP_BZIP2),
    ),
    "seeds that name a megabyte 4,000 times": ("legacy-seeds", lambda: npy_header((), "|O") + SAME_AGAIN),
    "scores of 4 TB": ("run-scores", lambda: zip_with("scores.npy", npy_header((2**20, 2**20), "<f2"))),
    "object masks of 4 TB": ("object-masks", lambda: zip_with("masks.npy", npy_header((2**40,), "|b1"))),
    "text vectors of 4 TB": ("text-vectors", lambda: zip_with("embeddings.npy", npy_header((2**40,)))),
    "archive that claims 4 GB": ("voc", lambda: zip_with("SegmentationClass/a.png", b"x", claims=2**32 - 2)),
    "seeds with a table of 64 GB": ("legacy-seeds", lambda: npy_header((), "|O") + b"\x80\x04Nr\xff\xff\xff\xff."),
    "seeds with a text of 4 GB": ("legacy-seeds", lambda: npy_header((), "|O") + b"\x80\x04B\xff\xff\xff\xff."),
    "seeds with bytes of 1 TB": (
        "legacy-seeds",
        lambda: npy_header((), "|O") + b"\x80\x05\x96" + b"\0" * 5 + b"\1\0\0.",
    ),
    "entities of 2 GB": ("tags-xml", lambda: LAUGHS),
    "an entity of 1 GB": ("tags-xml", lambda: LONG_ENTITY),
    "an entity from outside": ("tags-xml", lambda: OUTSIDE),
    "entities in scribbles": ("scribble-xml", lambda: LAUGHS),
    "a million nodes deep": ("tags-xml", lambda: b"<a>" * 10**6),
    "scribbles without an end": ("scribble-xml", lambda: VOC_XML.replace(b"<X>6<", b"<X>1e300<")),
    "a key of 200,000 parts": ("vocabulary", lambda: b"a." * 200_000 + b"a = 1"),
    "brackets of TOML": ("vocabulary", lambda: b"a = " + b"[" * 200_000),
    "tables of TOML": ("config", lambda: b"a = " + b"{a = " * 100_000),
    "a class 100,000 times": ("vocabulary", lambda: b"classes = [" + b'"a",' * 100_000 + b"]"),
    "a number of a million digits": ("coco", lambda: coco(area=0).replace(b'"area": 0', b'"area": ' + b"9" * 10**6)),
    "an image of a terapixel": ("coco-data", lambda: coco(height=10**6, width=10**6)),
    "a polygon far away": ("coco-data", lambda: coco(segmentation=FAR)),
    "a polygon without numbers": ("coco-data", lambda: coco(segmentation=[[float("nan")] * 6])),
    "a polygon of a million sides": ("coco", lambda: coco(segmentation=[LONG * 7])),
    "run lengths of a terapixel": ("coco", lambda: coco(segmentation={"size": [5, 7], "counts": [10**12]})),
    "run lengths of another size": ("coco", lambda: coco(segmentation={"size": [10**6, 10**6], "counts": [10**12]})),
    "a run length without an end": ("coco", lambda: coco(segmentation={"size": [5, 7], "counts": "o" * 10**6})),
    "brush of a terapixel": (
        "label-studio",
        lambda: PARSERS["label-studio"].seeds()[0].replace(b'"rle": [0, 0', b'"rle": [255, 255'),
    ),
    "tar of 8 GB": ("webdataset", lambda: tar_with(b"77777777777\0")),
    "tar that leads back": ("webdataset", lambda: tar_with(b"\xff" * 11 + b"\0")),
    "header of 1 TB": ("safetensors", lambda: safetensors({}, length=2**40)),
    "header deep within itself": ("safetensors", lambda: safetensors(b'{"a":' * 10**5)),
    "tensor of 4 TB": ("safetensors", lambda: safetensors(tensor([2**20, 2**20], 2**42))),
    "tensor of a false shape": ("safetensors", lambda: safetensors(tensor([2**20, 2**20], 16))),
    "tensor of an impossible shape": ("safetensors", lambda: safetensors(tensor([2**40, 2**40], 16))),
    "run of a deep header": ("run", lambda: b'{"a":' * 10**6),
    "manifest with a deep line": ("manifest", lambda: run_files()["manifest.jsonl"] + b"[" * 10**6 + b"\n"),
    "manifest with a size of infinity": (
        "manifest",
        lambda: run_files()["manifest.jsonl"].replace(b'"size": [5', b'"size": [1e999'),
    ),
}


def test_bombs_are_small():
    assert max(len(make()) for _, make in BOMBS.values()) < 2**24


CHILD = """
import json, resource, sys, time
sys.path[:0] = [{tests!r}, {root!r}]
resource.setrlimit(resource.RLIMIT_AS, ({addresses}, {addresses}))
from pathlib import Path
from parsers import PARSERS
from labelgen.errors import LabelgenError
import test_bombs

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

names, found = json.loads(sys.argv[2]), {{}}
for name in names:
    kind, make = test_bombs.BOMBS[name]
    folder = Path(sys.argv[1]) / kind
    PARSERS[kind].prepare(folder)
    for content in PARSERS[kind].seeds():  # imports all that is needed
        PARSERS[kind].run(folder, content)
    bomb = make()
    before, begun = peak(), time.monotonic()
    try:
        PARSERS[kind].run(folder, bomb)
        message = ""
    except LabelgenError as error:
        message = error.message
    except BaseException as error:
        message = f"not ours: {{type(error).__name__}} {{error}}"
    found[name] = [message, peak() - before, time.monotonic() - begun]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="memory is bounded by setrlimit")
@pytest.mark.parametrize("slow", [False, True], ids=["files", "networks"])
def test_bombs_are_refused_within_bounds(tmp_path, slow):
    from pathlib import Path

    here = Path(__file__).resolve()
    names = [name for name, (kind, _) in BOMBS.items() if PARSERS[kind].slow == slow]
    code = CHILD.format(tests=str(here.parents[2]), root=str(here.parents[3]), addresses=ADDRESSES)
    code = code.replace("import test_bombs", f"sys.path.insert(0, {str(here.parent)!r})\nimport test_bombs")
    line = [sys.executable, "-c", code, str(tmp_path), json.dumps(names)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=5 * SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert {n: m for n, (m, _, _) in found.items() if not m or m.startswith("not ours")} == {}
    assert {n: grown for n, (_, grown, _) in found.items() if grown > ALLOWED} == {}
    assert sum(seconds for _, _, seconds in found.values()) < SECONDS


def test_what_is_within_the_bounds_is_read(tmp_path):
    parser = PARSERS["unit-map-npz"]
    parser.prepare(tmp_path)
    with pytest.raises(LabelgenError, match="size"):  # of the image, not of the bound
        parser.run(tmp_path, npz(x=np.zeros((300, 400), np.float32)))
    assert LARGEST_ARRAYS > 500 * 2**20


def test_images_of_any_size_that_is_allowed_open_without_a_warning():
    from labelgen.untrusted import opened_picture

    side = int(MOST_PIXELS**0.5)
    with opened_picture(png_of(side, side)) as picture:
        assert picture.size == (side, side)
