"""What people and scripts see: records in, text or JSON documents out. Nothing here asks, decides or acts.

`words` and `documents` need the standard library only; everything that draws imports rich, and is imported on use.
"""
