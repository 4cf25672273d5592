"""Class-driven scribble promotion: tags read off scribbles, pseudo-labels made from the tags, both merged."""
