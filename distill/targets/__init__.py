"""What a student is held against at a step: batches, what the teacher shows of them, kept on disk; the objective."""
