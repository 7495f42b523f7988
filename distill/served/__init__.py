"""Students as they are served: checkpoints as files of ONNX Runtime and OpenVINO, checked against torch."""
