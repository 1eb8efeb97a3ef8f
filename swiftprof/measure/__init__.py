"""What pruning saves: FLOPs by formula, time and memory by the clock."""
