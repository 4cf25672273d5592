"""Annotations, tags, vocabularies, settings and lists of ids, mostly as text."""

import numpy as np

from labelgen.vocab import load_vocabulary
from parsers.parser import COLOURS, LABELS, SIZE, TOY, Parser, document, dumped, import_of, npy, png
from parsers.pictures import mask_seeds

POLYGON = [[1.0, 1.0, 4.0, 1.0, 4.0, 3.5, 1.0, 3.0]]
RUNS = {"size": list(SIZE), "counts": [5, 10, 20]}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 5, "width": 7}],
    "categories": [{"id": 3, "name": "cat", "isthing": 1}, {"id": 5, "name": "dog", "color": [1, 2, 3]}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "segmentation": POLYGON, "area": 6.0, "iscrowd": 0, "score": 0.5},
        {"id": 2, "image_id": 1, "category_id": 5, "segmentation": RUNS, "iscrowd": 1},
        {"id": 3, "image_id": 1, "category_id": 5, "segmentation": {"size": [5, 7], "counts": "5:d0"}},
    ],
}
PANOPTIC = {
    **{key: COCO[key] for key in ("images", "categories")},
    "annotations": [
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [{"id": 1, "category_id": 3, "iscrowd": 0}, {"id": 2, "category_id": 5}],
        }
    ],
}
RESULTS = [{"image_id": 1, "category_id": 3, "segmentation": RUNS, "score": 0.25}]
GROUNDED = {
    "image_path": "x/a.jpg",
    "annotations": [{"class_name": "cat", "segmentation": RUNS, "score": [0.75]}],
    "img_height": 5,
}
VOC_XML = b"""<annotation><size><width>7</width><height>5</height></size>
<object><name>cat</name><difficult>1</difficult></object>
<polygon><tag>dog</tag><point><X>1</X><Y>2</Y></point><point><X>6</X><Y>4</Y></point></polygon></annotation>"""
VOCABULARY_TOML = b"""name = "toy"
classes = ["ground", "cat", "dog"]
background = 0
palette = [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
raw_ids = [0, 1, 7]
void_ids = [9]
background_words = ["wall"]
[prompts]
cat = ["cat", "kitten"]
[aliases]
puppy = "dog"
"""
CONFIG_TOML = b"seed = 3\nlimit = 2\n[box]\nmargin = 2\noverwrite = true\n[scribble]\nshrink = 0.5\n"


def tasks():
    from labelgen.formats.brush import encode_brush

    brush = {"type": "brushlabels", "original_height": 5, "original_width": 7, "image_rotation": 0}
    brush["value"] = {"format": "rle", "rle": encode_brush(LABELS == 1), "brushlabels": ["cat"]}
    outline = {"type": "polygonlabels", "original_height": 5, "original_width": 7}
    outline["value"] = {"points": [[10, 10], [60, 10], [60.5, 80]], "polygonlabels": ["dog"]}
    annotation = {"was_cancelled": False, "result": [brush, outline]}
    return [{"data": {"image": "/data/upload/1/12345678-a.jpg", "image_id": "a"}, "annotations": [annotation]}]


def dataset_of(folder, file):
    """The truth and the tags of a COCO file."""
    from labelgen.data.open import open_data

    data = open_data(f"coco:{(folder / file).as_posix()}")
    return [data.load(sample_id, {"truth", "tags"}) for sample_id in data.ids]


def tag_vectors():
    table = {"a": np.array([1, 0], np.float32), 2007000032: np.array([0.0, 1.0])}
    return [npy(table)]


def read_tags(name):
    def read(folder):
        from labelgen.data.tags import open_tags

        source = open_tags((folder / name).as_posix(), TOY)
        return source.tags("a")

    return read


def read_xml_tags(folder):
    from labelgen.data.tags import open_tags

    return open_tags(folder.as_posix(), TOY).tags("a")


def read_scribbles(folder):
    return import_of("scribblesup", folder)


def read_clicks_file(folder):
    from labelgen.methods.point_files import clicks_to_strokes, read_clicks

    clicks = read_clicks(folder / "a.json", TOY).clicks
    return [clicks_to_strokes(found, size=SIZE, width=1.0) for found in clicks.values()]


def read_confusion(name):
    def read(folder):
        from labelgen.methods.corruptions.lookalikes import confusion_from_file

        return confusion_from_file(folder / name, TOY)

    return read


def read_vocabulary(name):
    def read(folder):
        found = load_vocabulary((folder / name).as_posix())
        return found.colours, found.to_json()

    return read


def read_config(folder):
    from labelgen.cli import app
    from labelgen.commands.defaults import FileDefaults, parsed_as_toml

    app.config = (FileDefaults(app, str(folder / "a.toml")),)
    try:
        return parsed_as_toml(app, ["box", "demo:3"])
    finally:
        app.config = None


def read_id_list(folder):
    from labelgen.data.selection import read_ids

    return read_ids(folder / "ids.txt")


def read_saliency_facts(folder):
    from labelgen.nets.saliency.folder import FolderSaliency

    return FolderSaliency(folder).facts()


PARSERS: dict[str, Parser] = {
    "tags-npy": Parser("a.npy", tag_vectors, read_tags("a.npy")),
    "tags-json": Parser("a.json", document("", {"a": ["cat", 2], "b": []}), read_tags("a.json")),
    "tags-csv": Parser("a.csv", lambda: [b"id,tags\na,cat,dog\na,2\nb\n"], read_tags("a.csv")),
    "tags-xml": Parser("a.xml", lambda: [VOC_XML], read_xml_tags),
    "scribble-xml": Parser("a.xml", lambda: [VOC_XML], read_scribbles),
    "scribble-png": Parser("a.png", lambda: mask_seeds()[:2], read_scribbles),
    "coco-data": Parser("annotations/a.json", document("", COCO), lambda f: dataset_of(f, "annotations/a.json")),
    "panoptic-data": Parser(
        "annotations/a.json",
        document("", PANOPTIC),
        lambda f: dataset_of(f, "annotations/a.json"),
        lambda: {"annotations/a/a.png": png((COLOURS * [1, 0, 0] % 3).astype(np.uint8))},
    ),
    "coco": Parser("a.json", document("", COCO), lambda f: import_of("coco", f, "a.json")),
    "coco-panoptic": Parser(
        "p.json",
        document("", PANOPTIC),
        lambda f: import_of("coco-panoptic", f, "p.json"),
        lambda: {"p/a.png": png((COLOURS * [1, 0, 0] % 3).astype(np.uint8))},
    ),
    "results": Parser(
        "r.json",
        document("", RESULTS),
        lambda f: import_of("instances", f, "r.json", categories=(f / "c.json").as_posix()),
        lambda: {"c.json": dumped(COCO)},
    ),
    "grounded": Parser("a.json", document("", GROUNDED), lambda f: import_of("instances", f, "a.json")),
    "label-studio": Parser("t.json", document("", tasks), lambda f: import_of("label-studio", f, "t.json")),
    "clicks": Parser(
        "a.json",
        document("", {"a": [{"x": 1.5, "y": 2, "cls": 1, "rank": 1}, {"x": 0, "y": 0, "cls": "dog"}]}),
        read_clicks_file,
    ),
    "confusion-json": Parser("c.json", document("", {"cat": {"dog": 0.5}, "dog": {"1": 2}}), read_confusion("c.json")),
    "confusion-csv": Parser("c.csv", lambda: [b"class,wrong class,weight\ncat,dog,0.5\n"], read_confusion("c.csv")),
    "vocabulary": Parser(
        "v.toml", lambda: [VOCABULARY_TOML, b'base = "voc"\nprompts = {cow = ["cow"]}\n'], read_vocabulary("v.toml")
    ),
    "word-list": Parser("v.txt", lambda: [b"background: wall, floor\ncat, kitten\ndog\n"], read_vocabulary("v.txt")),
    "config": Parser("a.toml", lambda: [CONFIG_TOML], read_config),
    "ids": Parser("ids.txt", lambda: [b"a\n/JPEGImages/b.jpg /SegmentationClassAug/b.png\nc 0 14\n"], read_id_list),
    "saliency-facts": Parser(
        "saliency.json", document("", {"by": "ncut", "pixel_supervised": False}), read_saliency_facts
    ),
}
