"""Who is at work on the folder of a run, and what he is at: known by files alone, to the ledger and to others."""
