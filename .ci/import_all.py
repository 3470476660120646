"""Import every module of the installed packages; those of an extra may miss only its packages."""

import importlib
import pkgutil
import sys

PACKAGES = ("preprocessing_stage", "train_stage", "final_model_stage", "deploy")
EXTRAS = {"onnx", "onnx_ir", "onnxruntime", "onnxscript", "starlette", "uvicorn", "ray", "av"}
EXTRAS |= {"scipy", "pycocotools", "pillow_heif"}

failed = []
for package in PACKAGES:
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in EXTRAS:
                failed.append(f"{module.name}: {error}")
print("\n".join(failed) or "all modules import")
sys.exit(bool(failed))
