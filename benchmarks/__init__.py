"""Speed and memory beside the peers, in one run on one machine: ``python -m benchmarks [NAME ...]``.

==========  =====================================================================================
``whole``   two models from file to answers, beside WeightWatcher: command, analysis call, memory
``fit``     the power-law fit alone, beside WeightWatcher and powerlaw
``limit``   the analysis beside the time its floating-point operations take at the rate of a product
``fisher``  one pass of the Fisher beside plain forward and backward passes, in time and memory
``dropout`` a training step with guided dropout beside one with ordinary dropout
``dcs``     a training step of ``DCSTrainer`` beside one of the plain ``Trainer``
``tempbalance`` one update of TempBalance beside the reference estimator's route
``diagnostics`` training with all diagnostics of a recipe beside training without; minutes
``imports`` which heavy packages the command line leaves alone
==========  =====================================================================================

Rules. Answers are compared first, and no times are shown when they differ. Contestants take turns, so that whatever else
the machine does hits both; medians are compared, never single runs. Every measurement is a process of its own with the
number of BLAS threads in its environment, and at most two cores are used by anybody. Ratios are what counts.

Bars are reported, not asserted: the exit code is 1 only if answers differ or a run fails.
"""
