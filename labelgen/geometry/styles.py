"""The table of scribble styles. One import and one line per style."""

from collections.abc import Mapping

from labelgen.geometry.around_styles import draw_contour, draw_loop
from labelgen.geometry.curve_styles import draw_curve, draw_line
from labelgen.geometry.hand import Style
from labelgen.geometry.skeleton_styles import draw_path, draw_skeleton
from labelgen.geometry.walk_style import draw_walk

__all__ = ["STYLES"]

STYLES: Mapping[str, Style] = {
    "path": draw_path,
    "line": draw_line,
    "curve": draw_curve,
    "contour": draw_contour,
    "loop": draw_loop,
    "random-walk": draw_walk,
    "skeleton": draw_skeleton,
}
