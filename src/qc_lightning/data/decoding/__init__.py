"""How a file becomes pixels: read, checked, oriented, resized, masked."""
