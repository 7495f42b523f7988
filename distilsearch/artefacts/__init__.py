"""Models as files that are served without torch: ONNX and OpenVINO, in float32 and int8, made and run.

Whoever exports, profiles or judges such a file does it through this room. The libraries are optional (the extras `onnx`
and `openvino`), are loaded when first used, and never reach the network.
"""
