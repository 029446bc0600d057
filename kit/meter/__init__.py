"""Meters: one Protocol, one small file a meter, one registry."""
