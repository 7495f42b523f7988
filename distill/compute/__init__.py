"""Where and how trainings compute: devices and processes, and the precision that pays on a machine."""
