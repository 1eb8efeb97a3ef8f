"""Plans found by measurement: candidates, their likelihood, a paired race, an honest end."""
