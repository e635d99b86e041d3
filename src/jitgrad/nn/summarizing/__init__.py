"""A model as a table: ``nn.summary``, its Summary and the Rows of it."""

from jitgrad.nn.summarizing.rows import Row as Row
from jitgrad.nn.summarizing.summary import Summary as Summary, summary as summary
