"""Parts of `train_demo_clip.py`, which is the script to run."""
