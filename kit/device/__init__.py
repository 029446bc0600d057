"""Devices: one Protocol, one small file a driver, one registry."""
