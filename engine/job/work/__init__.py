"""Work as it is sent: what jobs are made of, what crosses to other machines, and what is done where they run."""
