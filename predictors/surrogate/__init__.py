"""The surrogate of quality: a Gaussian process, the covariances it chooses among, and the codes it compares."""
