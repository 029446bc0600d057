"""The order of steps, and nothing else: certify, judge again, verify."""
