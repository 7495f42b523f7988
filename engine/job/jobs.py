from dataclasses import dataclass
@dataclass(frozen=True)
class Measure:
    architectures: tuple
    device: str
    serving: object
class Profile: pass
class TeacherLoss: pass
