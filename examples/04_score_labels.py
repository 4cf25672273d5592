"""How good are labels with holes? Three numbers, always together: miou, miou_labelled and coverage.

python examples/04_score_labels.py
"""

import numpy as np

from labelgen.quality.confusion import confusion_matrix, scores_from_confusion

TRUTH = np.array([[0, 0, 0, 255], [1, 1, 1, 1], [1, 1, 2, 2]], np.uint8)  # 255: void, never counted
LABELS = np.array([[0, 255, 255, 0], [1, 1, 255, 1], [1, 1, 1, 2]], np.uint8)  # 255: no label here


def main() -> None:
    matrix = confusion_matrix(TRUTH, LABELS, num_classes=3)
    print("rows truth, columns label, last column unlabelled")
    print(matrix)
    for rule in ("miss", "exclude"):
        scores = scores_from_confusion(matrix, unlabelled=rule)
        print(f"unlabelled = {rule:8} IoU per class {np.round(scores.iou, 3)}  mIoU {scores.miou:.3f}")
    print(f"coverage {1 - matrix[:, -1].sum() / matrix.sum():.3f}")


if __name__ == "__main__":
    main()
