"""Who runs a model on a device: what is timed is what the runtime makes of it."""
