# The pipeline, raw corpus to report: what each stage reads and writes stands in workflow/rules/,
# what it does in src/sotaque/, what can be changed in params.yaml.
#
#     snakemake --cores all
#
# dvc.yaml holds the same jobs; tests/test_pipeline.py keeps the two equal.

from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/evaluation.smk"


rule all:
    default_target: True
    input:
        "results/corpus.seal.json",
        f"results/{SETTINGS.model}/report.seal.json",
        f"results/{SETTINGS.model}/report.html",
        f"results/{SETTINGS.model}/metrics.json",
