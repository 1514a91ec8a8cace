"""Content of code and values: what keys of cached runs are made of."""
