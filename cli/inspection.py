"""`robcert inspect`: what is this file?"""

from __future__ import annotations

from .options import AnalysisOptions, analysis_options


@analysis_options
def inspect(options: AnalysisOptions) -> None:
    """What is this model file: inputs, outputs, preprocessing, gradients, parity, accuracy.

    Prints measured facts, what was decided about the file and why.

    Example: robcert inspect --model model.onnx --data images.npz
    """
    from robcert.certify.analyses import inspection as analysis

    from .run import run_analysis

    run_analysis(
        options, "inspect", "inspection", lambda context: [analysis.analyse(context.session)]
    )
