"""Pictures and pages made from profiles, plans and measurements."""
