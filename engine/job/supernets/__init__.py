"""Super-networks of a run: their jobs, and the source whose trials are slices of them."""
