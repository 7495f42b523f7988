"""From a run file to a run that can start: checked, recalled, profiled, with its executor and what it shares."""
