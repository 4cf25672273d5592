"""ZeroSeg: a student that groups patches into segments, taught by CLIP's image encoder alone."""
