"""Names and default numbers of the dense CLIP methods, without torch.

A method replaces the attention of the last block of the image tower, or adds a second path beside its last blocks:

| method | attention of the last block | residual | feed-forward | from |
|---|---|---|---|---|
| `clip` | queries to keys, as trained | kept | kept | Radford et al., ICML 2021, arXiv 2103.00020 |
| `maskclip` | every token keeps its own value | kept | kept | Zhou et al., ECCV 2022, arXiv 2112.01071 |
| `maskclip-v` | every token keeps its own value | dropped | dropped | `maskclip` as other papers run it |
| `sclip` | queries to queries plus keys to keys | kept | kept | Wang et al., ECCV 2024, arXiv 2312.01597 |
| `clearclip` | queries to queries | dropped | dropped | Lan et al., ECCV 2024, arXiv 2407.12442 |
| `naclip` | keys to keys, plus a Gaussian | dropped | dropped | Hajimiri et al., WACV 2025, arXiv 2404.08181 |
| `proxy` | cosines of another network's features | dropped | dropped | Lan et al., ECCV 2024, arXiv 2408.04883 |
| `gem` | second path over the last blocks | | | Bousselham et al., CVPR 2024, arXiv 2312.00878 |
| `surgery` | second path over the last blocks | | | Li et al., 2023, arXiv 2304.05653 |
"""

__all__ = ["BETA", "DEPTH", "DUAL_PATH", "GAMMA", "LAST_BLOCK", "METHODS", "NEEDS_EXTERNAL", "STD"]

LAST_BLOCK: tuple[str, ...] = ("clip", "maskclip", "maskclip-v", "sclip", "clearclip", "naclip", "proxy")
"""Methods that rewrite the last block."""

DUAL_PATH: tuple[str, ...] = ("gem", "surgery")
"""Methods that run a second path beside the last blocks."""

METHODS: tuple[str, ...] = LAST_BLOCK + DUAL_PATH

NEEDS_EXTERNAL: tuple[str, ...] = ("proxy",)
"""Methods that need the features of another backbone for the same images."""

STD = 5.0
"""Standard deviation of the Gaussian of `naclip`, in patches; the value of its paper."""

BETA = 1.2
"""Share of the mean cosine that `proxy` subtracts; the value of its paper."""

GAMMA = 3.0
"""Factor on the cosines of `proxy`; the value of its paper."""

DEPTH = 6
"""Last blocks that `gem` and `surgery` run a second path beside; the value of both public codes."""
