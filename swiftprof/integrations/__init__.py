"""Other people's tools that can use swiftprof; each is imported by its tool only."""
