"""From logits to words: graphs, the n-best search, language models, the Redis protocol.

Nothing here is imported by training. numba, kaldifst, flashlight-text, transformers and redis are imported by the
modules that need them, on use; ``pip install gpu-launch[lm]`` brings all of them.
"""
