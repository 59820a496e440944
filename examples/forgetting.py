"""LoRA learns less and forgets less
=================================

Learning against forgetting: the exact front between two tasks, and where fine-tuning ends behind it.
"""

import numpy as np

import lorasolve as ls
from lorasolve.papers import learns_less
from lorasolve.problem import full_fine_tuning


def run(quick=True):
    rng = np.random.default_rng(0)
    pair = learns_less.isotropic_pair(24, 32, 3, 1.5, rng)  # the change has rank 3
    objective = pair.sample(60, 1.0, rng)  # 60 noisy samples
    full, start = full_fine_tuning(objective)
    courses = [learns_less.run_course(pair, "full fine-tuning", full, max_iter=1500, init=start)]
    for rank in (1, 3, 8):
        problem = ls.Problem(objective, rank)
        courses.append(learns_less.run_course(pair, f"LoRA, r = {rank}", problem, max_iter=1500))
    for course in courses:
        end = course.end
        print(
            f"{course.method:<17} target loss {end.target_loss:6.2f}, forgetting {end.forgetting:6.2f}, behind the "
            f"front by {end.behind_front:5.2f}"
        )
    return {course.method: course.end for course in courses}


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/learns_less.png"
