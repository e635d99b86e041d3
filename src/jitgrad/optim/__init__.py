"""Optimizers: each step is one primitive over all parameters; ``lr_scheduler`` changes their learning rates."""

from jitgrad.optim import lr_scheduler as lr_scheduler
from jitgrad.optim.adam import Adam as Adam, AdamW as AdamW
from jitgrad.optim.optimizer import Optimizer as Optimizer
from jitgrad.optim.rmsprop import RMSprop as RMSprop
from jitgrad.optim.sgd import SGD as SGD
