"""Built-in demo data: scenes drawn by code with exact truth, and the weights of a small self-supervised ViT.

Nothing is stored but the weights: `labelgen.demo.scenes.draw_scene` draws every image from its split and number.
"""
