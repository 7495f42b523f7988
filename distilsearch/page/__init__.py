"""The shell, charts and parts of every HTML page: run reports and tables alike."""
