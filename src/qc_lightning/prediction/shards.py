"""Distribute a prediction over several processes and nodes: each photo belongs to exactly one."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.core.errors import UserError

# Set by a launcher for each process: its number and the number of processes. SLURM_NTASKS is not read, since a
# shell inside an allocation has it too without being one of the tasks; only srun sets the step's variables.
_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))


@dataclass(frozen=True)
class Shard:
    """The photos of this process.

    A photo's shard depends only on its name, not on its position in the list. It stays the same when photos are added
    and when a prediction is resumed. Shards are equal on average, not exactly.

    Attributes:
        number: number of this shard, from 1.
        count: number of shards.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def of_process(cls, setting: str | None) -> "Shard":
        """Read `i/n`, or without it the environment of torchrun or Slurm.

        Raises:
            UserError: the setting is not two numbers with 1 <= i <= n.
        """
        if setting is None:
            for number, count in _LAUNCHERS:
                if (i := os.environ.get(number, "")).isdigit() and (n := os.environ.get(count, "")).isdigit():
                    return cls(int(i) + 1, max(int(i) + 1, int(n)))
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", setting)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"shard: expected i/n with i from 1 to n, as in 1/2 and 2/2, got '{setting}'")
        return cls(int(match[1]), int(match[2]))

    def holds(self, name: str) -> bool:
        """Whether a photo, by name, belongs to this shard."""
        if self.count == 1:
            return True
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number - 1

    def output(self, path: Path) -> Path:
        """The output of this shard: verdicts.csv becomes verdicts-1of2.csv."""
        return path if self.count == 1 else path.with_stem(f"{path.stem}-{self.number}of{self.count}")
