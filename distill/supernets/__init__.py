"""Super-networks: one student whose slices are all smaller ones of a space."""
