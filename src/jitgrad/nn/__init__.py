"""Floor 3: modules, containers, layers by family, initialisation."""

from jitgrad.nn import functional as functional, init as init, utils as utils
from jitgrad.nn.activation import GELU as GELU, LogSoftmax as LogSoftmax, ReLU as ReLU, Softmax as Softmax, Tanh as Tanh
from jitgrad.nn.containers import ModuleDict as ModuleDict, ModuleList as ModuleList, Sequential as Sequential
from jitgrad.nn.conv import Conv2d as Conv2d
from jitgrad.nn.dropout import Dropout as Dropout
from jitgrad.nn.linear import Flatten as Flatten, Identity as Identity, Linear as Linear
from jitgrad.nn.loss import CrossEntropyLoss as CrossEntropyLoss, NLLLoss as NLLLoss
from jitgrad.nn.module import Module as Module
from jitgrad.nn.norm import BatchNorm1d as BatchNorm1d, BatchNorm2d as BatchNorm2d, LayerNorm as LayerNorm
from jitgrad.nn.parameter import Parameter as Parameter
from jitgrad.nn.pooling import AvgPool2d as AvgPool2d, MaxPool2d as MaxPool2d
from jitgrad.nn.sparse import Embedding as Embedding
