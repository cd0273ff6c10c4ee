"""Signs from a dictionary, by ``spoken-to-signed``."""
