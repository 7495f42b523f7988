"""Teachers: read from their folders, or refused by name, with all that surrounds them."""
