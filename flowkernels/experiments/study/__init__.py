"""Studies: resumable comparisons of many runs, from a configuration to a table."""

from flowkernels.experiments.study.study import Study, load_study, run_study
from flowkernels.experiments.study.task import Task

__all__ = ["Study", "Task", "load_study", "run_study"]
