"""Sources of photos, and how they become batches.

The way of a photo: `catalog` (path, label, group; the photos come from `sources` and `parts`), `decoding` (file to
pixels), `pixels` (decoded photos in memory and on disk), `checks` and `split`, `dataset` (all of it in order),
`datamodule` and `augment` (batches). `cluster` distributes photos over a Ray cluster.
"""
