"""What a run found, for the browser and the terminal; made from `result.json` alone."""
