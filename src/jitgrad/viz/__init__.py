"""Pictures of tensors' graphs and of models."""

from jitgrad.viz.drawing import Graph as Graph
from jitgrad.viz.graphs import graph as graph
