"""Benchmarks as they are published: their annotation files and pictures, read into one form."""
