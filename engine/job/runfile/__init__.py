"""The run file: what it says and leaves open, what is wrong with one, and whether it continues a folder's run."""
