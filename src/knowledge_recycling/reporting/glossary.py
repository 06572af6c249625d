"""The page's words, explained."""

from __future__ import annotations

from knowledge_recycling.reporting.document import Chapter, Terms
from knowledge_recycling.reporting.reader import RunResults

TERMS = (
    ("Teacher", "The classifier that was trained on the private images. It is not given away."),
    ("Generator", "The network that was trained on the private images to make synthetic ones."),
    ("Student", "The classifier that saw synthetic images alone, labelled by the Teacher."),
    ("Insider, outsider", "An image, or a patient, that was trained on, and one that was not."),
    (
        "Membership inference attack",
        "An attempt to tell insiders from outsiders by what a model answers.",
    ),
    (
        "TPR at 1% FPR",
        "Of 100 insiders, how many an attack accuses if it accuses 1 in 100 outsiders wrongly. "
        "Guessing: 1.",
    ),
    (
        "Attack AUC",
        "Of 100 pairs of an insider and an outsider, the share that an attack tells apart rightly. "
        "Guessing: 0.5.",
    ),
    (
        "Diagnostic AUC",
        "The same of a class and the rest, told apart by the classifier; the mean over the "
        "classes. The more the better.",
    ),
    (
        "Shadow pipelines",
        "The whole of Teacher, Generator and Student, repeated on random halves of the training "
        "images, so that it is known who was in and who was out.",
    ),
    (
        "Canary",
        "An unusual image that was planted to measure the worst case: under a wrong label, "
        "scrambled, or entered three times.",
    ),
    ("Power", "How small a leak an audit would have found. No power: nothing was shown."),
    (
        "Copy",
        "A synthetic image that lies nearer to a training image than any unseen real image does.",
    ),
    (
        "Differential privacy (epsilon, delta)",
        "A promise about every attack: whether one image or patient was in changes what anybody "
        "can conclude by at most a factor of exp(epsilon), but for a probability delta.",
    ),
    (
        "95% interval",
        "Of 100 such intervals about 95 contain the true value. It covers the choice of images, "
        "not of the seed.",
    ),
    (
        "CAS, CAS gap",
        "Classification Accuracy Score: the Student\u2019s accuracy on real test images; less the "
        "Teacher\u2019s.",
    ),
    (
        "Calibration error (ECE)",
        "How far confidence lies from the share of right answers, on average.",
    ),
    ("Recall", "The share of a class\u2019s images that are recognised."),
    ("Hard and soft labels", "The class alone, and a probability for each class."),
)


def glossary(run: RunResults, show_real: bool) -> Chapter:
    """All terms in the order in which a reader meets them."""
    return Chapter("glossary", "Glossary", [Terms(TERMS)])
