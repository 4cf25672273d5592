"""Ways in which dense labels go wrong, one family per file; `KINDS` in `table` lists them."""
