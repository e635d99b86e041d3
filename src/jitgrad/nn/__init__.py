"""Floor 3: modules, containers, layers by family, initialisation."""

from jitgrad.nn import functional as functional, init as init, surgery as surgery, utils as utils
from jitgrad.nn.activation import (
    ELU as ELU,
    GELU as GELU,
    LeakyReLU as LeakyReLU,
    LogSoftmax as LogSoftmax,
    ReLU as ReLU,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    Softmax as Softmax,
    Softplus as Softplus,
    Tanh as Tanh,
)
from jitgrad.nn.containers import ModuleDict as ModuleDict, ModuleList as ModuleList, Sequential as Sequential
from jitgrad.nn.conv import Conv1d as Conv1d, Conv2D as Conv2D, Conv2d as Conv2d
from jitgrad.nn.diagnosis import diagnose as diagnose
from jitgrad.nn.dropout import Dropout as Dropout
from jitgrad.nn.linear import Bilinear as Bilinear, Flatten as Flatten, Identity as Identity, Linear as Linear, Unflatten as Unflatten
from jitgrad.nn.loss import (
    BCEWithLogitsLoss as BCEWithLogitsLoss,
    CrossEntropyLoss as CrossEntropyLoss,
    L1Loss as L1Loss,
    MSELoss as MSELoss,
    NLLLoss as NLLLoss,
)
from jitgrad.nn.module import Module as Module
from jitgrad.nn.norm import BatchNorm1d as BatchNorm1d, BatchNorm2d as BatchNorm2d, LayerNorm as LayerNorm
from jitgrad.nn.parameter import Buffer as Buffer, Parameter as Parameter
from jitgrad.nn.parameter_containers import (
    BufferDict as BufferDict,
    BufferList as BufferList,
    ParameterDict as ParameterDict,
    ParameterList as ParameterList,
)
from jitgrad.nn.pooling import (
    AdaptiveAvgPool2d as AdaptiveAvgPool2d,
    AvgPool1d as AvgPool1d,
    AvgPool2d as AvgPool2d,
    MaxPool1d as MaxPool1d,
    MaxPool2D as MaxPool2D,
    MaxPool2d as MaxPool2d,
)
from jitgrad.nn.sparse import Embedding as Embedding
from jitgrad.nn.summarizing import summary as summary
