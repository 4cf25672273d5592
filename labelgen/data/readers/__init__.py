"""One reader for each layout on disk."""
