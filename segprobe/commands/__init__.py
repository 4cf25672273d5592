"""Commands of `segprobe`, one module each; none imports torch before it is called."""
