"""Run WeightWatcher on a model and print its table as JSON.

A process of its own, because importing WeightWatcher changes global warning filters and logging.

    python watch.py module FOLDER      a transformers model
    python watch.py state_dict FILE    a torch file with a state dict at the top or under 'state_dict'
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")


def main() -> None:
    """Analyse and print."""
    kind, path = sys.argv[1:]
    import torch
    import weightwatcher

    if kind == "module":
        from transformers import AutoModel

        model = AutoModel.from_pretrained(path)
    else:
        model = torch.load(path, weights_only=True, map_location="cpu")
        model = model.get("state_dict", model)
    table = weightwatcher.WeightWatcher(model=model).analyze()
    print("TABLE " + json.dumps(table.to_dict(orient="records")))


if __name__ == "__main__":
    main()
