"""The flags of a model and its data where none is given."""

FLAGS = {
    "task": None, "device": "auto", "dtype": "auto", "trust_remote_code": False, "text_column": None, "pair_column": None,
    "label_column": None, "target_column": None, "samples": None, "batch_size": 16, "max_length": None, "mask_share": 0.15,
    "seed": 0,
}  # fmt: skip
