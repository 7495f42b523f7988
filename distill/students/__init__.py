"""Students: cut from a teacher by what it shows of itself, with their head that judges pairs and their card."""
