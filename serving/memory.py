"""So many bytes that requests share, so that a worker's memory is bounded however many of them there are."""

import threading
import time


class Memory:
    """Bytes that are taken and given back. May be used by several threads at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._given_back = threading.Condition()

    @property
    def free(self) -> int:
        """How many bytes nobody has at the moment; below 0 where more had to be counted than there are."""
        return self.limit - self._taken

    def take(self, size: int, seconds: float = 0.0) -> bool:
        """Take so many bytes if they are free, or become free within this time; whether they were taken."""
        deadline = time.monotonic() + seconds
        with self._given_back:
            while size > self.free:
                left = deadline - time.monotonic()
                if size > self.limit or left <= 0:
                    return False
                self._given_back.wait(left)
            self._taken += size
            return True

    def count(self, size: int) -> None:
        """Count bytes that are there already, whether they were free or not."""
        with self._given_back:
            self._taken += size

    def give_back(self, size: int) -> None:
        """Give back what was taken or counted."""
        with self._given_back:
            self._taken -= size
            self._given_back.notify_all()
