"""From an image and unit vectors of words to a mask: windows, similarity maps, decisions."""
