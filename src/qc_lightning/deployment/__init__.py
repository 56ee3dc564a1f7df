"""An inspector as one file for the line: the exported graph, its golden inputs, and the gate that it must pass."""
