"""Figures as a page and as plots."""
