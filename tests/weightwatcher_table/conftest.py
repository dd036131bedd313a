"""What of this folder is not collected."""

collect_ignore = ["ask.py"]  # a program; importing it imports WeightWatcher
