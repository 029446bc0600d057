"""Tests of kit.spec."""
