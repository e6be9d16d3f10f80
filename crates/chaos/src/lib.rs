//! Experiments: timelines of faults, hypotheses, verdicts and reports.
