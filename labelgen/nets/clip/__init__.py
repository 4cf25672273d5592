"""Image-text models of open_clip: found, loaded strictly and frozen; words embedded and cached."""
