"""The folder that every long job writes: settings, drawn samples, and parts that heal and grow."""
