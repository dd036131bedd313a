"""Speed and memory beside the peers, in one run on one machine: ``python -m benchmarks [NAME ...]``.

===============  ========================================================================================
``whole``        two models from file to answers, beside WeightWatcher: command, analysis call, memory
``fit``          the power-law fit alone, beside WeightWatcher and powerlaw
``limit``        the analysis beside the time its floating-point operations take at the rate of a product
``compare``      a comparison of two models beside the analyses of both
``cache``        an analysis whose rows are all in the cache beside the first one
``toolbox``      Marchenko-Pastur fit and randomised spectra beside WeightWatcher's
``fisher``       one pass of the Fisher beside plain forward and backward passes, in time and memory
``dropout``      a training step with guided dropout beside one with ordinary dropout
``dcs``          a training step of ``DCSTrainer`` beside one of the plain ``Trainer``
``meta-peft``    a training step of ``MetaPeftTrainer`` beside one of the plain ``Trainer``
``tempbalance``  one update of TempBalance beside the reference estimator's route
``diagnostics``  training with the diagnostics of a recipe beside training without; 25 minutes
``distill``      candidates of SDFT written in batches beside one prompt at a time; needs a model
``truncated``    power laws with a cutoff beside powerlaw 1.5, in an interpreter of its own
``gpu``          spectra and fits on a device beside plain torch in a loop there, and beside the CPU
``large``        layers of Llama-2-7B's size: peak memory, and time as ``--dry-run`` tells it; minutes
``large-whole``  the whole model, as sparse files of zeros: peak memory
``imports``      which heavy packages the command line leaves alone
===============  ========================================================================================

Rules. Answers are compared first, and no times are shown when they differ. Contestants take turns, so that whatever else
the machine does hits both; medians are compared, never single runs. Every measurement is a process of its own with the
number of BLAS threads in its environment, and at most two cores are used by anybody. Ratios are what counts.

Bars are reported, not asserted: the exit code is 1 only if answers differ or a run fails.
"""
