"""The one array type of all floors; what an array's axes are is said where it is made, as `# (n, d)`."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
