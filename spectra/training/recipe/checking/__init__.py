"""What can be told of a recipe before anything is downloaded or trained: all its faults."""
