"""Everything that learns or produces."""
