"""Writes Tiny-ImageNet, decoded, into one file of arrays: what train.py reads.

    python results/tinyimagenet/arrays.py FOLDER OUT.npz

FOLDER is as `data.directory` of the recipes: train/CLASS/ and test/CLASS/, or as it is unpacked.
"""
