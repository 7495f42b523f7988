"""Which teacher layers each layer of a student learns from."""

MAPPINGS = ("uniform", "last", "uniform+last", "final")


def layer_map(mapping: str, layers: int, depth: int) -> list[tuple[int, ...]]:
    """For each student layer the teacher layers it learns from, all counted from 0.

    "uniform" spreads them, "last" takes the last ones, "uniform+last" both (KD-NAS, arXiv 2303.09639), "final"
    only the last layer from the last.

    >>> layer_map("uniform+last", 2, 6)
    [(2, 4), (5, 5)]
    """
    uniform = [max(0, (i + 1) * depth // layers - 1) for i in range(layers)]
    last = [max(0, depth - layers + i) for i in range(layers)]
    if mapping == "uniform":
        return [(i,) for i in uniform]
    if mapping == "last":
        return [(i,) for i in last]
    if mapping == "uniform+last":
        return list(zip(uniform, last, strict=True))
    return [()] * (layers - 1) + [(depth - 1,)]
