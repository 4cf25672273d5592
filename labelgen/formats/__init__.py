"""Label maps in the files of other tools: what `labelgen export` writes and `labelgen import` reads."""
