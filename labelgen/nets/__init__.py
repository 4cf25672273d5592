"""Frozen networks that give tokens: construction through timm, weights and their key maps, geometry of the grid."""
