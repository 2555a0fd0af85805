"""What the commands do, without a terminal: one job a file. Nothing here imports torch before a job runs."""
