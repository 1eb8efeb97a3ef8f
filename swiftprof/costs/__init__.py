"""What a plan costs, counted without torch: FLOPs and retained tokens."""
