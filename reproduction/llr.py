"""Items of LLR: Qin et al. 2019, arXiv:1907.02610, and its supplement."""

from __future__ import annotations

from dataclasses import replace

from .analyses import Analysis, Attack, Linearity
from .item import Column, Curves, Item, Model, Row, Value

PAPER = "Qin et al. 2019 (arXiv:1907.02610)"
SUPPLEMENT = f"{PAPER}, supplement"
CIFAR, IMAGENET = ("cifar10", 50_000), ("imagenet", 1_281_167)

FGSM = Attack("FGSM-20", ("fgsm-20",))
PGD50 = Attack("PGD-50", ("llr-pgd50",), cost=50.0)
UNTARGETED = Attack("Untargeted", ("llr-untargeted",), restarts=20, cost=2000.0)
MULTI = Attack("Multi-Targeted", ("llr-multi-targeted",), restarts=20, cost=18_000.0)

NOMINAL = Column("Nominal", "measured", FGSM.name, "clean")


def _accuracy(analysis: Attack) -> Column:
    return Column(analysis.name, "attacked", analysis.name, "robust@8/255")


def _nominal(analysis: Analysis) -> Column:
    return replace(NOMINAL, analysis=analysis.name)


WIDE: tuple[tuple[str, Value], ...] = (("arch", "wrn-40-8"),)
ORDER = (
    "E-LLR-1: Equation 4 and Algorithm 1 subtract the gradient, which descends; here, as in the "
    "released code, the inner search ascends."
)
RATIO = (
    "E-LLR-4: Table F2 prints (λ, μ/λ) under the heading (λ, μ), as the released code computes it; "
    "μ = 3 of the text is that of WRN-40-8, WRN-28-8 has μ = 2."
)
OWN_ADV = (
    "ADV is that of the released code: twenty Adam steps on the margin; the paper does not state "
    "the steps of its re-implementation."
)
OWN_CURE = "CURE has the defaults of robcert train cure; the paper does not state its settings."
CLEAR = (
    "E-LLR-27: the text says that the re-implementations are at or above published results; the "
    "published TRADES (WRN-34-10) has 52.58 under Multi-Targeted, above both rows here."
)

TAB2_MODELS_A = (
    Model("ADV (S), WRN-28-8", "llr-adv"),
    Model("CURE (S), WRN-28-8", "llr-cure"),
    Model("TRADES (S), WRN-28-8", "trades-6"),
    Model("LLR (S), WRN-28-8", "llr-wrn28"),
)
TAB2_ROWS_A = (
    Row("ADV, published network", "", (87.25, 48.89, 45.92, 44.54), "weights of its authors"),
    Row("CURE, published network", "", (80.76, 39.76, 38.87, 37.57), "weights of its authors"),
    Row("ADV (S), WRN-28-8", TAB2_MODELS_A[0].name, (85.11, 56.76, 53.96, 48.79)),
    Row("CURE (S), WRN-28-8", TAB2_MODELS_A[1].name, (84.31, 48.56, 47.28, 45.43)),
    Row("TRADES (S), WRN-28-8", TAB2_MODELS_A[2].name, (87.40, 51.63, 50.46, 49.48)),
    Row("LLR (S), WRN-28-8", TAB2_MODELS_A[3].name, (86.83, 54.24, 52.99, 51.13)),
)
RELU: tuple[tuple[str, Value], ...] = (*WIDE, ("activation", "relu"))
TAB2_MODELS_B = (
    Model("ADV (R), WRN-40-8", "llr-adv", RELU),
    Model("TRADES (R), WRN-40-8", "trades-6", RELU),
    Model("ADV (S), WRN-40-8", "llr-adv", WIDE),
    Model("CURE (S), WRN-40-8", "llr-cure", WIDE),
    Model("TRADES (S), WRN-40-8", "trades-6", WIDE),
    Model("LLR (S), WRN-40-8", "llr-wrn40"),
)
TAB2_ROWS_B = tuple(
    Row(model.name, model.name, published)
    for model, published in zip(
        TAB2_MODELS_B,
        (
            (85.58, 56.32, 52.34, 46.89),
            (86.25, 53.38, 51.76, 50.84),
            (85.27, 57.94, 55.26, 49.79),
            (84.45, 49.41, 47.69, 45.51),
            (88.11, 53.03, 51.65, 50.53),
            (86.28, 56.44, 54.95, 52.81),
        ),
        strict=True,
    )
)

TAB2A = Item(
    name="LLR-Tab2a",
    title="Accuracy of CIFAR-10 networks under three attacks at 8/255, Wide ResNet 28-8",
    source=f"{PAPER}, Table 2, upper part",
    data=CIFAR[0],
    training=CIFAR[1],
    images=10_000,
    models=TAB2_MODELS_A,
    analyses=(FGSM, UNTARGETED, MULTI),
    columns=(NOMINAL, *map(_accuracy, (FGSM, UNTARGETED, MULTI))),
    rows=TAB2_ROWS_A,
    errata=(ORDER, RATIO, CLEAR),
    choices=(OWN_ADV, OWN_CURE, "TRADES has weight 6, the row of Table F2 with equal numbers."),
)
TAB2B = replace(
    TAB2A,
    name="LLR-Tab2b",
    title="Accuracy of CIFAR-10 networks under three attacks at 8/255, Wide ResNet 40-8",
    source=f"{PAPER}, Table 2, lower part",
    models=TAB2_MODELS_B,
    rows=TAB2_ROWS_B,
    errata=(*TAB2A.errata, "E-LLR-16: Table F2 has 88.12 where this table has 88.11 for TRADES."),
)
TAB2 = replace(
    TAB2A,
    name="LLR-Tab2",
    title="Accuracy of CIFAR-10 networks under three attacks at 8/255",
    source=f"{PAPER}, Table 2",
    models=(*TAB2_MODELS_A, *TAB2_MODELS_B),
    rows=(*TAB2_ROWS_A, *TAB2_ROWS_B),
    errata=TAB2B.errata,
)


def _few(*steps: int) -> tuple[Model, ...]:
    return tuple(Model(f"ADV-{count}", f"adv-{count}") for count in steps)


TABA1 = replace(
    TAB2A,
    name="LLR-TabA1",
    title="Adversarial training with few steps: accuracy and accuracy under Multi-Targeted",
    source=f"{SUPPLEMENT}, Table A1",
    models=_few(1, 2, 4, 8, 16),
    analyses=(MULTI,),
    columns=(_nominal(MULTI), _accuracy(MULTI)),
    rows=tuple(
        Row(f"{steps} steps", f"ADV-{steps}", published)
        for steps, published in (
            (1, (84.42, 0.0)),
            (2, (83.67, 0.0)),
            (4, (87.70, 45.91)),
            (8, (87.20, 46.03)),
            (16, (86.78, 46.14)),
        )
    ),
    errata=(
        "E-LLR-20: these networks are Wide ResNets 28-10, those of other tables 28-8 and 40-8.",
    ),
    choices=("ADV is that of the released code: Adam steps on the margin.",),
)


def _llr(name: str, preset: str, weight: float, ratio: float) -> Model:
    options = (("gamma_weight", weight), ("linear_weight", weight * ratio))
    return Model(name, preset, options)


TABF2_ROWS = (
    (_llr("LLR (4, 0.2), WRN-28-8", "llr-wrn28", 4.0, 0.2), (88.73, 52.38)),
    (_llr("LLR (4, 0.3), WRN-28-8", "llr-wrn28", 4.0, 0.3), (87.64, 52.55)),
    (_llr("LLR (4, 0.5), WRN-28-8", "llr-wrn28", 4.0, 0.5), (86.83, 53.33)),
    (Model("TRADES 2, WRN-28-8", "trades-2"), (88.49, 48.00)),
    (Model("TRADES 4, WRN-28-8", "trades-4"), (88.63, 50.50)),
    (Model("TRADES 6, WRN-28-8", "trades-6"), (87.40, 50.91)),
    (Model("TRADES 8, WRN-28-8", "trades-8"), (81.90, 46.13)),
    (_llr("LLR (3, 0.5), WRN-40-8", "llr-wrn40", 3.0, 0.5), (88.74, 53.26)),
    (_llr("LLR (3, 2), WRN-40-8", "llr-wrn40", 3.0, 2.0), (78.74, 52.20)),
    (_llr("LLR (4, 0.75), WRN-40-8", "llr-wrn40", 4.0, 0.75), (86.28, 55.47)),
    (_llr("LLR (4, 0.85), WRN-40-8", "llr-wrn40", 4.0, 0.85), (83.86, 54.31)),
    (Model("TRADES 4, WRN-40-8", "trades-4", WIDE), (89.01, 51.50)),
    (Model("TRADES 6, WRN-40-8", "trades-6", WIDE), (88.12, 52.24)),
    (Model("TRADES 8, WRN-40-8", "trades-8", WIDE), (82.59, 46.06)),
)
TABF2 = replace(
    TAB2A,
    name="LLR-TabF2",
    title="Weights of LLR and TRADES: accuracy and accuracy under PGD-50",
    source=f"{SUPPLEMENT}, Table F2",
    models=tuple(model for model, _ in TABF2_ROWS),
    analyses=(PGD50,),
    columns=(_nominal(PGD50), _accuracy(PGD50)),
    rows=tuple(Row(model.name, model.name, published) for model, published in TABF2_ROWS),
    errata=(RATIO, "E-LLR-18: the caption says WRN-28-8, the table holds both networks."),
    choices=("PGD-50 attacks the finished network; the paper reads it off during training.",),
)

TABF3_MODELS = (Model("γ only", "llr-wrn28-mu0"), Model("both terms", "llr-wrn28"))
TABF3 = replace(
    TAB2A,
    name="LLR-TabF3",
    title="LLR with and without its linear term, CIFAR-10, Wide ResNet 28-8",
    source=f"{SUPPLEMENT}, Table F3, upper part",
    models=TABF3_MODELS,
    analyses=(UNTARGETED, MULTI),
    columns=(_nominal(MULTI), *map(_accuracy, (UNTARGETED, MULTI))),
    rows=(
        Row("λγ", "γ only", (84.75, 50.42, 49.38)),
        Row("μ|δᵀ∇ℓ| + λγ", "both terms", (86.83, 52.99, 51.13)),
    ),
    errata=(ORDER, RATIO),
    choices=(),
)

NARROW: tuple[tuple[str, Value], ...] = (("arch", "wrn-28-8"),)
TABF4 = replace(
    TAB2A,
    name="LLR-TabF4",
    title="LLR and adversarial training with one and two steps",
    source=f"{SUPPLEMENT}, Table F4",
    models=(
        Model("ADV-1", "adv-1", NARROW),
        Model("ADV-2", "adv-2", NARROW),
        Model("LLR-1", "llr-1"),
        Model("LLR-2", "llr-2"),
    ),
    analyses=(UNTARGETED, MULTI),
    columns=(_nominal(MULTI), *map(_accuracy, (UNTARGETED, MULTI))),
    rows=(
        Row("ADV-1", "ADV-1", (88.45, 0.0, 0.0)),
        Row("ADV-2", "ADV-2", (76.63, 0.0, 0.0)),
        Row("LLR-1", "LLR-1", (93.03, 1.80, 1.60)),
        Row("LLR-2", "LLR-2", (90.46, 46.47, 44.50)),
    ),
    errata=(ORDER, "E-LLR-18: the main text cites this table as F3."),
    choices=(
        "LLR-1 and LLR-2 have μ = 0, as Figure 4 says of networks of these names; the table does "
        "not say.",
    ),
)

FIG3A = replace(
    TAB2A,
    name="LLR-Fig3a",
    title="Accuracy of ADV and LLR on CIFAR-10 as the attack grows stronger",
    source=f"{PAPER}, Figure 3a",
    models=(Model("ADV", "llr-adv"), Model("LLR", "llr-wrn28")),
    analyses=(PGD50, UNTARGETED, MULTI),
    columns=(
        _nominal(PGD50),
        replace(_accuracy(PGD50), title="Untargeted, 50 × 1"),
        replace(_accuracy(UNTARGETED), title="Untargeted, 200 × 20"),
        replace(_accuracy(MULTI), title="Multi-Targeted, 200 × 20"),
    ),
    rows=(
        Row("ADV", "ADV", (None, 54.43, None, 48.79)),
        Row("LLR", "LLR", (None, 53.32, None, 51.14)),
    ),
    errata=(
        "E-LLR-16: the figure's first values are not the Untargeted column of Table 2; 53.32 is "
        "PGD-50 of Table F2 (53.33), so the curve starts there.",
    ),
    choices=(OWN_ADV, "The paper's figure has further strengths, without numbers."),
    figures=(
        Curves(
            "accuracy against the strength of the attack",
            "attacked",
            "",
            "",
            "attack, weakest first (1: no attack)",
            "accuracy",
        ),
    ),
)

ROOTS = Linearity("γ")
FIGF3 = replace(
    TAB2A,
    name="LLR-FigF3",
    title="Distribution of √γ(8/255, x) on the test images: LLR-2, ADV-2, ADV-20",
    source=f"{SUPPLEMENT}, Figure F3",
    models=(
        Model("LLR-2", "llr-2"),
        Model("ADV-2", "adv-2", NARROW),
        Model("ADV-20", "llr-adv"),
    ),
    analyses=(ROOTS,),
    columns=(
        Column("mean of √γ", "estimated", ROOTS.name, "root mean", "value"),
        Column("median of γ", "estimated", ROOTS.name, "median", "value"),
    ),
    rows=tuple(Row(name, name, (None, None)) for name in ("LLR-2", "ADV-2", "ADV-20")),
    errata=("E-LLR-19: γ is what this search found, a lower estimate of the largest deviation.",),
    choices=("The figure prints no numbers: LLR-2 and ADV-20 are alike, far below ADV-2.",),
    figures=(Curves("distribution of √γ", "estimated", ROOTS.name, "root", "√γ", "images"),),
)

ALONG = Linearity("γ", along=True, training=True)
FIG2 = replace(
    TAB2A,
    name="LLR-Fig2",
    title="γ(8/255, x) on training images during adversarial training with 1 to 16 steps",
    source=f"{PAPER}, Figure 2",
    images=1000,
    models=_few(1, 2, 4, 8, 16),
    analyses=(ALONG,),
    columns=(Column("mean γ, last epoch", "estimated", ALONG.name, "mean", "value"),),
    rows=tuple(Row(f"ADV-{n}", f"ADV-{n}", (None,)) for n in (1, 2, 4, 8, 16)),
    errata=(
        "E-LLR-19: γ is what this search found, a lower estimate of the largest deviation.",
        "E-LLR-20: these networks are Wide ResNets 28-10.",
    ),
    choices=(
        "The figure prints no numbers: about 10 for one and two steps, 0.1 for four and more.",
        "The paper does not say how many training images are measured; here the first 1000.",
    ),
    figures=(
        Curves(
            "mean γ during training",
            "estimated",
            ALONG.name,
            "course",
            "epoch",
            "γ",
            percent=False,
        ),
    ),
    keep_every=1,
)


def _imagenet(radius: int) -> tuple[tuple[Analysis, ...], tuple[Column, ...]]:
    epsilon = radius / 255
    untargeted = replace(UNTARGETED, epsilons=(epsilon,))
    targeted = replace(
        UNTARGETED, name="Random-Targeted", attacks=("llr-random-targeted",), epsilons=(epsilon,)
    )
    columns = (
        _nominal(untargeted),
        Column("Untargeted", "attacked", untargeted.name, f"robust@{radius}/255"),
        Column("Random-Targeted, success", "attacked", targeted.name, f"targeted@{radius}/255"),
    )
    return (untargeted, targeted), columns


def _table3(radius: int, part: str, rows: tuple[tuple[str, str, tuple[float, ...]], ...]) -> Item:
    analyses, columns = _imagenet(radius)
    return replace(
        TAB2A,
        name=f"LLR-Tab3{part}",
        title=f"ImageNet, ResNet-152, {radius}/255: accuracy and targeted success",
        source=f"{PAPER}, Table 3, {radius}/255",
        data=IMAGENET[0],
        training=IMAGENET[1],
        images=1000,
        models=tuple(Model(name, preset) for name, preset, _ in rows),
        analyses=analyses,
        columns=columns,
        rows=tuple(Row(name, name, published) for name, _, published in rows),
        errata=(
            ORDER,
            "E-LLR-22: whether images already of the target class count is open; here all count.",
            "E-LLR-24: the test labels are not public; the first 1000 validation images are meant.",
        ),
        choices=(
            "ADV and DENOISE: LLR's schedule and steps of 1/255; the paper states neither, and at "
            "16/255 it evaluates networks of others.",
        ),
    )


TAB3A = _table3(
    4,
    "a",
    (
        ("ADV", "adv-30-in4", (69.20, 39.70, 0.50)),
        ("DENOISE", "denoise-30-in4", (69.70, 38.90, 0.40)),
        ("LLR", "llr-in4", (72.70, 47.00, 0.40)),
    ),
)
TAB3B = _table3(
    16,
    "b",
    (
        ("ADV", "adv-30-in16", (64.10, 6.30, 40.00)),
        ("DENOISE", "denoise-30-in16", (66.80, 7.50, 38.00)),
        ("LLR", "llr-in16", (51.20, 6.10, 43.80)),
    ),
)
TAB3B = replace(
    TAB3B,
    errata=(
        *TAB3B.errata,
        "E-LLR-7: the printed warm-up of 90 epochs exceeds the training of 55; here it is 20.",
    ),
)
TABF3_IMAGENET = replace(
    TAB3A,
    name="LLR-TabF3-imagenet",
    title="LLR with and without its linear term, ImageNet, 4/255",
    source=f"{SUPPLEMENT}, Table F3, lower part",
    models=(Model("γ only", "llr-in4-mu0"), Model("both terms", "llr-in4")),
    rows=(
        Row("λγ", "γ only", (71.40, 41.30, 1.90)),
        Row("μ|δᵀ∇ℓ| + λγ", "both terms", (72.70, 47.00, 0.40)),
    ),
    choices=(),
)

ITEMS = (
    *(TAB2, TAB2A, TAB2B, TAB3A, TAB3B, FIG2, FIG3A, TABA1, TABF2, TABF3, TABF3_IMAGENET, TABF4),
    FIGF3,
)
