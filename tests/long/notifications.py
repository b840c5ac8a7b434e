"""Random schedules of events, raises, merges, outages, quiet hours, downtime and kills: nothing lost, nothing doubled, no old ring.

python tests/long/notifications.py [SEEDS]      # 1000: a minute
"""

import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.notified import torture  # noqa: E402


def main() -> int:
    seeds, total, failed = int((sys.argv[1:] or ["1000"])[0]), Counter(), 0
    for seed in range(seeds):
        house = torture(seed)
        kinds = Counter(d.message.notification.kind for d in house.phone)
        total += kinds + Counter(
            kills=house.kills, incidents=len(house.incidents), again=len(house.phone) - len({d.id for d in house.phone})
        )
        try:
            house.check()
        except AssertionError as error:
            failed += 1
            print(f"seed {seed}: {error}")
    print(f"{seeds} schedules, {failed} failed: {dict(total)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
