"""How sure a predicted latency is: conformal intervals, how far they carry, and measurements no fit may believe."""
