"""Class maps from the gradients of an image-text model, and the attention that spreads them."""

from labelgen.nets.clip_cam.softmax_cam import ClipCam, check_tower, clip_cam

__all__ = ["ClipCam", "check_tower", "clip_cam"]
