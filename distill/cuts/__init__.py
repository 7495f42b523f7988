"""Which of a teacher's layers its students start from, by measurement: the loss of their untrained cuts."""
