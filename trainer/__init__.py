"""Training of the Brain-to-Text '25 phoneme decoder, and the pieces of it that serve any PyTorch script.

Nothing heavy is imported here: ``trainer.contract`` must stay cheap for the launcher, which reads it
on computers without torch.
"""
