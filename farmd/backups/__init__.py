"""Copies of the whole farm in one file each, and the way back from one of them."""
