"""The main job: from a run file to trained students, in phases that can be continued."""
