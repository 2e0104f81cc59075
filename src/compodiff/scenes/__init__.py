"""Scenes of the catalogue's pictures, edited: training material and a benchmark, each exact as drawn."""
