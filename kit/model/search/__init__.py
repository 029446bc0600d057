"""Find the cheapest mixed-precision variant that meets its requirements, in few evaluations."""
