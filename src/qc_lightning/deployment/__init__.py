"""Export an inspector as one file: the graph, its golden inputs, and the checks that it must pass."""
