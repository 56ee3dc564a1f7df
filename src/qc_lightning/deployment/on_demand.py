"""Make an output optional: onnxruntime always runs the entire graph, whichever outputs are requested."""

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper


def on_demand(model: ModelProto, output: str, wanted: str) -> None:
    """Move the nodes that only one output needs into a branch controlled by an optional input.

    Args:
        model: changed in place.
        output: name of the output; an empty array with first dimension 0 unless it is requested.
        wanted: name of the new input, a boolean scalar, false by default.
    """
    graph = model.graph
    others = _needed(graph, [value.name for value in graph.output if value.name != output])
    alone = [node for node in graph.node if node.output[0] not in others]
    kept = [node for node in graph.node if node.output[0] in others]
    (value,) = [value for value in graph.output if value.name == output]
    shape = [0, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])]
    for node in alone:  # names inside a branch must differ from names outside
        for place, name in enumerate(node.output):
            if name == output:
                node.output[place] = f"{output}_then"
    result = helper.make_tensor_value_info(f"{output}_then", TensorProto.FLOAT, [None, *shape[1:]])
    empty = helper.make_tensor_value_info(f"{output}_else", TensorProto.FLOAT, shape)
    constant = helper.make_node(
        "Constant", [], [f"{output}_else"], value=numpy_helper.from_array(np.zeros(shape, np.float32))
    )
    branches = {
        "then_branch": helper.make_graph(alone, f"{output}_then", [], [result]),
        "else_branch": helper.make_graph([constant], f"{output}_else", [], [empty]),
    }
    choice = helper.make_node("If", [wanted], [output], name=output, **branches)
    del graph.node[:]
    graph.node.extend([*kept, choice])
    graph.input.append(helper.make_tensor_value_info(wanted, TensorProto.BOOL, []))
    graph.initializer.append(numpy_helper.from_array(np.array(False), wanted))
    inside = {name for node in alone for name in node.output} | {output}
    outer = [value for value in graph.value_info if value.name not in inside]
    del graph.value_info[:]
    graph.value_info.extend(outer)


def _needed(graph: GraphProto, outputs: list[str]) -> set[str]:
    """Names of all values that some outputs depend on, including themselves."""
    maker = {name: node for node in graph.node for name in node.output}
    needed, waiting = set[str](), list(outputs)
    while waiting:
        name = waiting.pop()
        if name in needed or name not in maker:
            continue
        needed.update(maker[name].output)
        waiting += maker[name].input
    return needed
