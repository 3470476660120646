"""Put the trained experts together into one folder, models/segmenter."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from final_model_stage.params import load_params
from final_model_stage.segmenter import ExpertSettings, Segmenter, Settings
from preprocessing_stage.params import load_params as load_preprocessing_params
from train_stage.model import Expert
from train_stage.params import load_params as load_train_params

EXPERTS = Path("models/experts")
OUT = Path("models/segmenter")


def main() -> None:
    preprocessing, final = load_preprocessing_params(), load_params()
    tree = preprocessing.class_tree
    trained = load_train_params().experts
    settings = Settings(
        tree=tree.to_dict(),
        longest_side=preprocessing.data.longest_side,
        mode=final.mode,
        second_look=final.second_look,
        mirror=final.mirror,
        passes=final.passes,
        seed=final.seed,
        experts={
            name: ExpertSettings(
                input_size=trained[name].input_size,
                box_margin=trained[name].box_margin,
                model=trained[name].model,
            )
            for name in tree.experts
        },
    )
    experts = {}
    for name in tree.experts:
        experts[name] = Expert(trained[name].model, len(tree[name].children))
        experts[name].load_state_dict(load_file(EXPERTS / f"{name}.safetensors"))
    Segmenter(settings, experts).save(OUT)


if __name__ == "__main__":
    main()
