"""In what decoders of the Llama kind differ beyond their sizes: windows of attention, and how positions are turned.

Everything here is read off a teacher's configuration, so that an uncut student computes what its teacher does.
"""

from typing import Any

from ..errors import TeacherError


def window_of(config: Any) -> int:
    """How many tokens each token looks back at; 0 where it sees all that there can be.

    Files of Qwen2 name windows that are not used: transformers drops them, and files are looked at before it is loaded.
    """
    used = getattr(config, "use_sliding_window", config.model_type == "mistral")
    window = (getattr(config, "sliding_window", None) if used else None) or 0
    return int(window) if window < config.max_position_embeddings else 0


def check_window(config: Any, name: str) -> None:
    """Refuse windows that only some layers have: the students' own layers are others."""
    if config.model_type != "mistral" and window_of(config):
        raise TeacherError(
            f"{name} is a {config.model_type!r} model whose layers look back at {config.sliding_window} tokens only "
            f"(sliding_window in config.json) of {config.max_position_embeddings}, some of them or all, and students "
            "of this type would see all; take a teacher without a window"
        )


def rope_of(config: Any, head_size: int) -> dict[str, Any]:
    """How a student with heads of that size turns positions: as its teacher, with those of its factors that it uses."""
    rope = getattr(config, "rope_parameters", None)
    if not rope:
        return {}
    kept = dict(rope)
    for name in ("short_factor", "long_factor"):  # one factor a pair of places, evenly spaced ones are kept
        factors = kept.get(name)
        if factors:
            kept[name] = [factors[i * 2 * len(factors) // head_size] for i in range(head_size // 2)]
    return {"rope_parameters": kept}
