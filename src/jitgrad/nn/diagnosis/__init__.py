"""What is wrong with a model: ``nn.diagnose`` and its Report."""

from jitgrad.nn.diagnosis.report import Finding as Finding, Report as Report
from jitgrad.nn.diagnosis.run import diagnose as diagnose
