"""Paths, URIs of object stores, names of files, atomic writes, tables."""
