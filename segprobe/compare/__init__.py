"""Label runs against backbones, heads and strategies over seeds: one table, filled cell by cell."""
