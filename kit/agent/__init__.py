"""The program on the device: it loads models by digest, runs and times them, and knows nothing of the host."""
