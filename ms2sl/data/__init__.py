"""Clips, skeletons, shards, datasets, batches."""
