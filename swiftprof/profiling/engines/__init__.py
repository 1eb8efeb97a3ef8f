"""Who measures the units of a profile: this process, or workers on Ray."""
