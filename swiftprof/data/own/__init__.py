"""A user's own data, wherever the name of a data set may stand: files, folders, the Hub."""
