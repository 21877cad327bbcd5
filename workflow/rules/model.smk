# Base model to merged model.
#
# in   workflow/models/<model>.yaml, data/splits/, data/tokens/<model>/
# out  models/<model>/{base/, lora/, selected.json, merged/}


rule fetch:
    """Bring network, codec and ASR of {wildcards.model} here and check them."""
    input:
        ".stamps/fetch.json",
    output:
        "models/{model}/base/seal.json",
    log:
        "logs/{model}/fetch.log",
    params:
        settings=PARAMS,
    shell:
        """
        sotaque fetch \
            --params {params.settings:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --out models/{wildcards.model:q}/base \
            2>&1 | tee -i {log:q}
        """


rule train:
    """Adapt {wildcards.model} by LoRA; a killed run goes on from its last saved step."""
    input:
        ".stamps/train.json",
        "data/splits/seal.json",
        expand("data/tokens/{{model}}/{shard}.seal.json", shard=SHARDS),
        "models/{model}/base/seal.json",
    output:
        "models/{model}/lora/seal.json",
    log:
        "logs/{model}/train.log",
    priority: 10
    threads: SETTINGS.train.threads * SETTINGS.train.processes
    resources:
        gpu=GPU,
    params:
        settings=PARAMS,
    shell:
        """
        sotaque train \
            --params {params.settings:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --splits data/splits \
            --tokens data/tokens/{wildcards.model:q} \
            --base models/{wildcards.model:q}/base \
            --out models/{wildcards.model:q}/lora \
            2>&1 | tee -i {log:q}
        """


rule select:
    """Let every checkpoint of {wildcards.model} speak the validation texts and choose one."""
    input:
        ".stamps/select.json",
        "data/splits/seal.json",
        "models/{model}/base/seal.json",
        "models/{model}/lora/seal.json",
    output:
        "models/{model}/selected.seal.json",
    log:
        "logs/{model}/select.log",
    priority: 10
    resources:
        gpu=GPU,
    params:
        settings=PARAMS,
    shell:
        """
        sotaque select \
            --params {params.settings:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --splits data/splits \
            --base models/{wildcards.model:q}/base \
            --lora models/{wildcards.model:q}/lora \
            --out models/{wildcards.model:q}/selected \
            2>&1 | tee -i {log:q}
        """


rule merge:
    """Merge the selected adapter; verified after a fresh reload."""
    input:
        ".stamps/merge.json",
        "models/{model}/base/seal.json",
        "models/{model}/lora/seal.json",
        "models/{model}/selected.seal.json",
    output:
        "models/{model}/merged/seal.json",
    log:
        "logs/{model}/merge.log",
    priority: 10
    params:
        settings=PARAMS,
    shell:
        """
        sotaque merge \
            --params {params.settings:q} \
            --model workflow/models/{wildcards.model:q}.yaml \
            --base models/{wildcards.model:q}/base \
            --lora models/{wildcards.model:q}/lora \
            --selected models/{wildcards.model:q}/selected.json \
            --out models/{wildcards.model:q}/merged \
            2>&1 | tee -i {log:q}
        """
