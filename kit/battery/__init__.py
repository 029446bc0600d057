"""Energy to battery life: three tiers, each figure a range from the ranges of what goes in."""

from kit.battery.average import TIER, BatteryLife, battery_life
from kit.battery.cell import Cell, Loads, Work, current_a
from kit.battery.corners import corners, over_corners
from kit.battery.forecast import Forecast, Model, forecast, likely_life_s, most_often, share_of_life
from kit.battery.inputs import Inputs, Statement, inputs_of
from kit.battery.tiers import LEFT, PEAK, SELF, TIERS, Drained, average_life, regulated_life, stepped_life

__all__ = [
    "LEFT",
    "PEAK",
    "SELF",
    "TIER",
    "TIERS",
    "BatteryLife",
    "Cell",
    "Drained",
    "Forecast",
    "Inputs",
    "Loads",
    "Model",
    "Statement",
    "Work",
    "average_life",
    "battery_life",
    "corners",
    "current_a",
    "forecast",
    "inputs_of",
    "likely_life_s",
    "most_often",
    "over_corners",
    "regulated_life",
    "share_of_life",
    "stepped_life",
]
