"""A light segmentation head on a frozen self-supervised ViT, trained from imperfect labels."""
