"""Classifiers trained from image-level tags, and the class activation maps that they give."""
