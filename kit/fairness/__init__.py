"""Groups: rates, gaps and ratios before and after, with intervals; mitigations that need no retraining. Pure."""
