# Corpus to tokens.
#
# in   data/raw/<corpus>/, models/<model>/base/
# out  data/manifest/, data/wav/<shard>/, data/measures/<shard>.jsonl, data/quality/, data/splits/,
#      data/tokens/<model>/<shard>.{npy,jsonl}, results/corpus.{html,jsonl}


rule corpus:
    """Speak the built-in demonstration corpus with espeak-ng."""
    input:
        ".stamps/corpus.json",
    output:
        "data/raw/demo/seal.json",
    log:
        "logs/corpus.log",
    params:
        settings=PARAMS,
    shell:
        """
        sotaque corpus \
            --params {params.settings:q} \
            --out data/raw/demo \
            2>&1 | tee -i {log:q}
        """


rule ingest:
    """Read the corpus, whatever its layout, into manifests; say why each dropped clip was dropped."""
    input:
        ".stamps/ingest.json",
        branch(SETTINGS.ingest.corpus == stages.DEMO, then="data/raw/demo/seal.json"),
    output:
        "data/manifest/seal.json",
    log:
        "logs/ingest.log",
    params:
        settings=PARAMS,
        corpus=lambda wildcards: f"data/raw/{SETTINGS.ingest.corpus}",
    shell:
        """
        sotaque ingest \
            --params {params.settings:q} \
            --corpus {params.corpus:q} \
            --out data/manifest \
            2>&1 | tee -i {log:q}
        """


rule normalize:
    """Bring the clips of shard {wildcards.shard} to the model's rate and a common loudness."""
    input:
        ".stamps/normalize.json",
        "data/manifest/seal.json",
    output:
        "data/wav/{shard}/seal.json",
    log:
        "logs/normalize-{shard}.log",
    params:
        settings=PARAMS,
        model=f"workflow/models/{SETTINGS.model}.yaml",
    shell:
        """
        sotaque normalize \
            --params {params.settings:q} \
            --shard {wildcards.shard:q} \
            --model {params.model:q} \
            --manifest data/manifest \
            --out data/wav/{wildcards.shard:q} \
            2>&1 | tee -i {log:q}
        """


rule measure:
    """Measure the clips of shard {wildcards.shard}: level, clipping, band, noise, silence, rate."""
    input:
        ".stamps/measure.json",
        "data/wav/{shard}/seal.json",
        f"models/{SETTINGS.model}/base/seal.json",
    output:
        "data/measures/{shard}.seal.json",
    log:
        "logs/measure-{shard}.log",
    resources:
        gpu=GPU if SETTINGS.measure.asr or SETTINGS.measure.codec else 0,
    params:
        settings=PARAMS,
        model=SETTINGS.model,
    shell:
        """
        sotaque measure \
            --params {params.settings:q} \
            --shard {wildcards.shard:q} \
            --model workflow/models/{params.model:q}.yaml \
            --manifest data/manifest \
            --wav data/wav/{wildcards.shard:q} \
            --base models/{params.model:q}/base \
            --out data/measures/{wildcards.shard:q} \
            2>&1 | tee -i {log:q}
        """


rule quality:
    """Drop the clips that quality.drop asks for, each with its reason."""
    input:
        ".stamps/quality.json",
        "data/manifest/seal.json",
        expand("data/measures/{shard}.seal.json", shard=SHARDS),
    output:
        "data/quality/seal.json",
    log:
        "logs/quality.log",
    params:
        settings=PARAMS,
    shell:
        """
        sotaque quality \
            --params {params.settings:q} \
            --manifest data/manifest \
            --measures data/measures \
            --wav data/wav \
            --out data/quality \
            2>&1 | tee -i {log:q}
        """


rule survey:
    """Show the corpus on one page: totals, measures, flags, rejects, the worst clips to listen to."""
    input:
        ".stamps/survey.json",
        "data/manifest/seal.json",
        f"models/{SETTINGS.model}/base/seal.json",
        expand("data/measures/{shard}.seal.json", shard=SHARDS),
        "data/quality/seal.json",
    output:
        "results/corpus.seal.json",
        report("results/corpus.html", category="Corpus", caption="../report/corpus.rst"),
        "results/corpus.jsonl",
    log:
        "logs/survey.log",
    params:
        settings=PARAMS,
        model=SETTINGS.model,
    shell:
        """
        sotaque survey \
            --params {params.settings:q} \
            --manifest data/manifest \
            --wav data/wav \
            --measures data/measures \
            --quality data/quality \
            --base models/{params.model:q}/base \
            --out results/corpus \
            2>&1 | tee -i {log:q}
        """


rule split:
    """Divide the utterances into train, val and test; no text or speaker stands in two of them."""
    input:
        ".stamps/split.json",
        expand("data/wav/{shard}/seal.json", shard=SHARDS),
        "data/quality/seal.json",
    output:
        "data/splits/seal.json",
    log:
        "logs/split.log",
    params:
        settings=PARAMS,
    shell:
        """
        sotaque split \
            --params {params.settings:q} \
            --wav data/wav \
            --quality data/quality \
            --out data/splits \
            2>&1 | tee -i {log:q}
        """


rule tokenize:
    """Turn the WAVs of shard {wildcards.shard} into codec tokens of {wildcards.model}."""
    input:
        ".stamps/tokenize.json",
        "data/wav/{shard}/seal.json",
        "models/{model}/base/seal.json",
    output:
        "data/tokens/{model}/{shard}.seal.json",
    log:
        "logs/{model}/tokenize-{shard}.log",
    priority: 10
    params:
        settings=PARAMS,
    shell:
        """
        sotaque tokenize \
            --params {params.settings:q} \
            --shard {wildcards.shard:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --wav data/wav/{wildcards.shard:q} \
            --base models/{wildcards.model:q}/base \
            --out data/tokens/{wildcards.model:q}/{wildcards.shard:q} \
            2>&1 | tee -i {log:q}
        """
