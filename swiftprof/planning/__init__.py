"""From a capability curve to a plan: dynamic program, token budget, bootstrap, plan file."""
