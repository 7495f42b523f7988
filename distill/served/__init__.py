"""Students as they are served: checkpoints as files of ONNX Runtime and OpenVINO, checked against torch.

`kept.loss_of` is what a search asks; `export.export` what a command does.
"""
