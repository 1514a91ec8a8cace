"""Tasks: named ones, data of your own, folders of images; and where the data come from."""
