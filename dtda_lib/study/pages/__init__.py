"""Generated pages: the gallery, the index, the scoreboard, and the tables in README.md."""
