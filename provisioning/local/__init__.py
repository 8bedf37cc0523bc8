"""This computer as a machine that is claimed and released; it was here before and stays afterwards."""
