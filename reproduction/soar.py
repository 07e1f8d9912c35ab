"""Items of SOAR: Ma, Faghri, Farahmand 2020, arXiv:2004.01832."""

from __future__ import annotations

from dataclasses import replace

from robcert.certify.attacks import Change
from robcert.certify.core import Norm

from .analyses import Attack, Corruption, Transfer
from .confidence import Confidence
from .item import Column, Item, Model, Row

PAPER = "Ma, Faghri, Farahmand 2020 (arXiv:2004.01832v1)"

FGSM = Attack("FGSM", ("fgsm",), cost=1.0)
PGD7 = Attack("PGD7", ("soar-pgd7",), cost=7.0)
PGD20 = Attack("PGD20", ("soar-pgd20",))
RADII_L2 = (20 / 255, 40 / 255, 60 / 255)
PGD_L2 = Attack("l2-PGD", ("soar-l2-pgd100",), RADII_L2, Norm.L2, cost=100.0)
SPATIAL = Corruption("spatial", Change.SPATIAL, ((10.0, 0.05), (30.0, 0.1), (50.0, 0.3)))
CONFIDENCE = Confidence("confidence")
GAUSSIAN = Corruption("gaussian", Change.GAUSSIAN, ((0.05,), (0.1,), (0.15,)))

STANDARD = Model("Standard", "soar-standard")
ADV7 = Model("Adv7", "soar-adv7")
SCRATCH = Model("Adv1-scratch", "soar-adv1-scratch")
PRETRAIN = Model("Adv1-pretrain", "soar-adv1-pretrain", start="Standard")
SOAR = Model("SOAR", "soar-v1", start="Standard")
THREE = (STANDARD, ADV7, SOAR)
CNN = Model("source CNN", "soar-standard", apart=1000)
RESNET = Model("source ResNet18", "soar-standard", (("arch", "resnet18"),), apart=1000)
BLACK_BOX = Transfer("black box", (CNN.name, RESNET.name))

MASKED = (
    "E-SOAR-13, E-SOAR-14: accuracy is under PGD on the cross-entropy, which SOAR can mask; FGSM "
    "47.77 against PGD20 32.83 is a warning sign. robcert masking-check says more."
)
SPREAD = "E-SOAR-22: the paper does not say what ± is, nor how many trainings; means are shown."
STEP = (
    "E-SOAR-6: the first step of the PGD1 start is printed without sign, projection and clipping; "
    "here it has all three."
)
HALVES = "E-SOAR-7: α is 0.03 in section 5 and 8/255 in appendix C; here 8/255."
SCHEDULE = "Schedules of Adv1-scratch and Adv1-pretrain are not stated: those of Standard and SOAR."
SHARED = "Networks of one seed start from one Standard network; the paper does not say."


def _strengths(titles: tuple[str, ...], analysis: str) -> tuple[Column, ...]:
    return tuple(
        Column(title, "measured", analysis, f"strength {place + 1}")
        for place, title in enumerate(titles)
    )


TAB1 = Item(
    name="SOAR-Tab1",
    title="Accuracy on CIFAR-10 under linf attacks at 8/255",
    source=f"{PAPER}, Table 1",
    data="cifar10",
    training=50_000,
    images=10_000,
    models=(STANDARD, ADV7, SCRATCH, PRETRAIN, SOAR),
    analyses=(FGSM, PGD7, PGD20),
    columns=(
        Column("Standard accuracy", "measured", "FGSM", "clean"),
        *(Column(one.name, "attacked", one.name, "robust@8/255") for one in (FGSM, PGD7, PGD20)),
    ),
    rows=(
        Row("Standard", "Standard", (86.33, 22.09, 1.26, 0.39)),
        Row("Adv7", "Adv7", (70.71, 42.37, 38.52, 36.03)),
        Row("Adv1-scratch", "Adv1-scratch", (83.35, 27.84, 17.55, 13.14)),
        Row("Adv1-pretrain", "Adv1-pretrain", (84.23, 23.13, 12.22, 8.11)),
        Row("SOAR", "SOAR", (81.73, 47.77, 39.15, 32.83)),
    ),
    errata=(MASKED, SPREAD, STEP, HALVES),
    choices=(SCHEDULE, SHARED),
)
TAB2 = replace(
    TAB1,
    name="SOAR-Tab2",
    title="Accuracy on CIFAR-10 under l2-PGD",
    source=f"{PAPER}, Table 2",
    models=THREE,
    analyses=(PGD_L2,),
    columns=tuple(
        Column(f"ε = {n}/255", "attacked", "l2-PGD", f"robust@{n}/255") for n in (20, 40, 60)
    ),
    rows=(
        Row("Standard", "Standard", (60.2, 33.7, 18.1)),
        Row("Adv7", "Adv7", (68.3, 65.6, 62.9)),
        Row("SOAR", "SOAR", (76.8, 71.3, 65.8)),
    ),
    errata=(SPREAD, STEP, HALVES, "E-SOAR-15: the text says 8.4 where the table gives 8.5."),
    choices=(SHARED,),
)
SOURCES = (
    Column("CNN", "attacked", "black box", CNN.name),
    Column("ResNet18", "attacked", "black box", RESNET.name),
)
TAB3 = replace(
    TAB1,
    name="SOAR-Tab3",
    title="Accuracy on CIFAR-10 under PGD20 at 8/255 from other networks",
    source=f"{PAPER}, Table 3",
    models=(CNN, RESNET, *THREE),
    analyses=(BLACK_BOX,),
    columns=SOURCES,
    rows=(
        Row("Standard", "Standard", (18.1, 63.7)),
        Row("Adv7", "Adv7", (68.3, 69.9)),
        Row("SOAR", "SOAR", (72.6, 79.8)),
    ),
    errata=(MASKED, SPREAD, STEP, HALVES),
    choices=(SHARED, "The sources are trained as Standard, with other seeds."),
)
STARTS = tuple(
    Model(f"{start} init", "soar-v1", (("start", start),), start="Standard")
    for start in ("zero", "random", "pgd1")
)
TAB4 = replace(
    TAB3,
    name="SOAR-Tab4",
    title="SOAR with three initialisations: white box and black box at 8/255",
    source=f"{PAPER}, Table 4",
    models=(CNN, RESNET, STANDARD, *STARTS),
    analyses=(PGD20, BLACK_BOX),
    columns=(
        Column("Standard accuracy", "measured", "PGD20", "clean"),
        Column("PGD20", "attacked", "PGD20", "robust@8/255"),
        *SOURCES,
    ),
    rows=tuple(
        Row(model.name, model.name, published)
        for model, published in zip(
            STARTS,
            (
                (84.28, 71.09, 15.10, 60.85),
                (83.85, 73.64, 20.97, 69.71),
                (81.73, 32.83, 72.62, 79.79),
            ),
            strict=True,
        )
    ),
)
TAB5 = replace(
    TAB1,
    name="SOAR-Tab5",
    title="Mean confidence on CIFAR-10: images, uniform noise, one step of PGD at 8/255",
    source=f"{PAPER}, Table 5",
    models=(STANDARD, ADV7, SCRATCH, PRETRAIN, *STARTS),
    analyses=(CONFIDENCE,),
    columns=(
        Column("unchanged", "measured", "confidence", "clean"),
        Column("random", "measured", "confidence", "random"),
        Column("PGD1", "measured", "confidence", "PGD1"),
    ),
    rows=tuple(
        Row(name, name, published)
        for name, published in (
            ("Standard", (94.86, 94.18, 94.72)),
            ("Adv7", (53.81, 53.63, 53.81)),
            ("Adv1-scratch", (85.72, 85.61, 85.72)),
            ("Adv1-pretrain", (87.46, 87.32, 87.46)),
            ("zero init", (99.63, 99.61, 99.82)),
            ("random init", (99.61, 99.57, 99.83)),
            ("pgd1 init", (93.85, 93.80, 93.31)),
        )
    ),
    errata=(
        MASKED,
        SPREAD,
        STEP,
        HALVES,
        "E-SOAR-23: the columns are changes of the images; the text has *zero* for the first.",
    ),
    choices=(
        SCHEDULE,
        SHARED,
        "Confidence is the largest probability of an image; the means have no interval.",
    ),
)
TAB6 = replace(
    TAB2,
    name="SOAR-Tab6",
    title="Accuracy on CIFAR-10 under random rotation and shift",
    source=f"{PAPER}, Table 6",
    analyses=(SPATIAL,),
    columns=_strengths(("weak", "medium", "strong"), "spatial"),
    rows=(
        Row("Standard", "Standard", (83.07, 61.19, 35.89)),
        Row("Adv7", "Adv7", (69.87, 60.60, 32.51)),
        Row("SOAR", "SOAR", (80.51, 68.42, 38.04)),
    ),
    errata=(SPREAD, STEP, HALVES),
    choices=(SHARED, "One random draw per image, as the paper seems to count."),
)
TAB7 = replace(
    TAB6,
    name="SOAR-Tab7",
    title="Accuracy on CIFAR-10 under Gaussian noise",
    source=f"{PAPER}, Table 7",
    analyses=(GAUSSIAN,),
    columns=_strengths(("σ = 0.05", "σ = 0.1", "σ = 0.15"), "gaussian"),
    rows=(
        Row("Standard", "Standard", (69.99, 36.42, 20.63)),
        Row("Adv7", "Adv7", (69.70, 65.52, 58.80)),
        Row("SOAR", "SOAR", (79.98, 71.34, 56.81)),
    ),
    choices=(SHARED, "One draw per image; noisy pixels are not clipped, the paper does not say."),
)

ITEMS = (TAB1, TAB2, TAB3, TAB4, TAB5, TAB6, TAB7)
