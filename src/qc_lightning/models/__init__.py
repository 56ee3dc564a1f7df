"""The networks: backbones, heads, pretrained weights, novelty."""
