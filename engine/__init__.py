"""The search: ask and tell, pure; strategies choose, a job drives it from a run file, a report says what was found."""
