"""Drawings of the report: each takes view data and a width in pixels, and gives SVG text."""
