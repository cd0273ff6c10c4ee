"""Recordings: decoded, resampled, brought to a level."""
