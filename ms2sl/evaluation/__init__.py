"""Producers judged on real clips that they never saw, beside the real clips themselves."""
