# Four systems, four metrics, one report.
#
# in   data/splits/, models/<model>/{base/, merged/}
# out  results/<model>/{wav/<system>/, <system>/<metric>.json, report.html, metrics.json, plots/}
#      results/compare.{html,json}, when asked for: snakemake --cores all compare


rule synthesize:
    """Speak the test texts with {wildcards.system}."""
    input:
        ".stamps/synthesize.json",
        "data/splits/seal.json",
        "models/{model}/base/seal.json",
        lambda wildcards: f"{network(wildcards)}/seal.json",
    output:
        "results/{model}/wav/{system}/seal.json",
    log:
        "logs/{model}/synthesize-{system}.log",
    resources:
        gpu=GPU,
    params:
        settings=PARAMS,
        network=network,
    shell:
        """
        sotaque synthesize \
            --params {params.settings:q} \
            --system {wildcards.system:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --splits data/splits \
            --base models/{wildcards.model:q}/base \
            --network {params.network:q} \
            --out results/{wildcards.model:q}/wav/{wildcards.system:q} \
            2>&1 | tee -i {log:q}
        """


rule evaluate:
    """Measure the {wildcards.metric} of {wildcards.system}; speed is measured with the machine to itself."""
    input:
        ".stamps/evaluate.json",
        "data/splits/seal.json",
        "models/{model}/base/seal.json",
        lambda wildcards: f"{network(wildcards)}/seal.json",
        "results/{model}/wav/{system}/seal.json",
    output:
        "results/{model}/{system}/{metric}.seal.json",
    log:
        "logs/{model}/evaluate-{system}-{metric}.log",
    threads: lambda wildcards: workflow.cores if wildcards.metric == "speed" else 1
    resources:
        gpu=GPU,
    params:
        settings=PARAMS,
        network=network,
    shell:
        """
        sotaque evaluate \
            --params {params.settings:q} \
            --system {wildcards.system:q} \
            --metric {wildcards.metric:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --splits data/splits \
            --base models/{wildcards.model:q}/base \
            --network {params.network:q} \
            --wav results/{wildcards.model:q}/wav/{wildcards.system:q} \
            --out results/{wildcards.model:q}/{wildcards.system:q}/{wildcards.metric:q} \
            2>&1 | tee -i {log:q}
        """


rule report:
    """Gather everything about {wildcards.model} into one page and metrics.json."""
    input:
        ".stamps/report.json",
        "data/manifest/seal.json",
        "data/quality/seal.json",
        "data/splits/seal.json",
        "models/{model}/base/seal.json",
        "models/{model}/lora/seal.json",
        "models/{model}/selected.seal.json",
        expand("results/{{model}}/wav/{system}/seal.json", system=stages.SYSTEMS),
        expand(
            "results/{{model}}/{system}/{metric}.seal.json",
            system=stages.SYSTEMS,
            metric=stages.METRICS,
        ),
    output:
        "results/{model}/report.seal.json",
        report(
            "results/{model}/report.html",
            category="Results",
            caption="../report/page.rst",
        ),
        report(
            "results/{model}/metrics.json",
            category="Results",
            caption="../report/metrics.rst",
        ),
        "results/{model}/headline.json",
        "results/{model}/plots/loss.csv",
        "results/{model}/plots/selection.csv",
    log:
        "logs/{model}/report.log",
    params:
        settings=PARAMS,
    shell:
        """
        sotaque report \
            --params {params.settings:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --manifest data/manifest \
            --quality data/quality \
            --splits data/splits \
            --base models/{wildcards.model:q}/base \
            --lora models/{wildcards.model:q}/lora \
            --selected models/{wildcards.model:q}/selected.json \
            --results results/{wildcards.model:q} \
            --out results/{wildcards.model:q} \
            2>&1 | tee -i {log:q}
        """


rule compare:
    """Put the models of `compare` side by side, after what is missing of each one's chain is made."""
    log:
        "logs/compare.log",
    threads: workflow.cores
    params:
        settings=PARAMS,
    shell:
        """
        sotaque compare \
            --params {params.settings:q} \
            --make {threads} \
            2>&1 | tee -i {log:q}
        """
