"""What the pages share: frame, charts, players, style. A page is one file that needs nothing else."""
