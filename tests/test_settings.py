"""settings: a fault in params.yaml is one message naming file, key, value and what is allowed."""

import dataclasses
from pathlib import Path

import pytest

from sotaque import __main__ as cli
from sotaque import model_spec, settings, yaml_file
from sotaque.errors import SettingsError


@pytest.fixture
def params(workplace):
    """Write params.yaml with other content and read it."""

    def read(content: str) -> settings.Settings:
        Path("params.yaml").write_text(content, encoding="utf-8")
        return settings.read(Path("params.yaml"))

    return read


def test_the_shipped_params_are_accepted(workplace):
    assert settings.read(Path("params.yaml")).model == "micro"


def test_the_shipped_params_name_every_key(workplace):
    """A key that params.yaml does not show is a key that nobody finds."""

    def keys(section, prefix=""):
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if dataclasses.is_dataclass(value):
                yield from keys(value, f"{prefix}{field.name}.")
            else:
                yield prefix + field.name

    shown = yaml_file.read(Path("params.yaml"))
    listed = {f"{k}.{j}" for k, v in shown.items() if isinstance(v, dict) for j in v}
    listed |= {k for k, v in shown.items() if not isinstance(v, dict)}
    assert listed == set(keys(settings.Settings()))


@pytest.mark.parametrize(
    "written", ["1e-4", "1e-04", "1E-4", "1.0e-4", "0.0001", ".0001", "100e-6", "+1e-4", "1e-0004"]
)
def test_every_spelling_of_a_number_is_that_number(params, written):
    assert params(f"lr: {written}\n").lr == 1e-4


def test_a_whole_number_is_a_number_too(params):
    read = params("lr: 1\ntargets:\n  wer: 1e1\n")
    assert (read.lr, type(read.lr), read.targets.wer) == (1.0, float, 10.0)


def test_what_is_left_out_has_its_default(params):
    assert params("model: micro\n") == settings.Settings()
    assert params("lora:\n").lora == settings.Lora()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lrr: 1e-4", r"unknown key lrr: 0\.0001; did you mean lr\?"),
        ("train:\n  batch: 3", r"unknown key train\.batch: 3; .*allowed here: .*\bbatch_clips\b"),
        ("split:\n  zzz: 1", r"unknown key split\.zzz: 1; allowed here: by, val_share, test_share"),
        ("1: 2", r"unknown key 1: 2"),
        ("lr: fast", r"lr is 'fast', expected a number"),
        ("lr: '1e-4'", r"lr is '1e-4', expected a number"),
        ("lr: true", r"lr is True, expected a number"),
        ("lr: null", r"lr is empty, expected a number"),
        ("lr: [1]", r"lr is \[1\], expected a number"),
        ("lr: 2", r"lr is 2\.0, allowed: 0\.0 to 1\.0"),
        ("lr: -1e-4", r"lr is -0\.0001, allowed"),
        ("lr: .nan", r"line 1: lr is \.nan; expected a finite number"),
        ("lr: -.inf", r"line 1: lr is -\.inf; expected a finite number"),
        ("seed: 1.5", r"seed is 1\.5, expected a whole number"),
        ("seed: -1", r"seed is -1, allowed: 0 to"),
        ("epochs: 0", r"epochs is 0, allowed: 1 to 10000"),
        ("shards: 1e4", r"shards is 10000\.0, expected a whole number"),
        ("train:\n  mask_prompt: 1", r"train\.mask_prompt is 1, expected true or false"),
        ("model: 3", r"model is 3, expected a word"),
        ("model: no-such", r"model is 'no-such', allowed: .*micro, .*orpheus-3b"),
        ("ingest:\n  language: tlh", r"ingest\.language is 'tlh', allowed: pt, es, en, ar"),
        ("ingest:\n  layout: kaldi2", r"ingest\.layout is 'kaldi2', allowed: auto, chatterbox, ljspeech"),
        ("corpus:\n  accent: true", r"corpus\.accent is True, allowed: pt-br, es-mx, en-gb"),
        ("lora: 32", r"lora is 32, expected a mapping"),
        ("lr: fast", r"lr is 'fast', expected a number from 0\.0 to 1\.0"),
        ("lora:\n  rank: 0", r"lora\.rank is 0, allowed: 1 to 1024"),
        ("- a", r"the file is \['a'\], expected a mapping"),
        ("lr: 1\nlr: 2", r"line 2: the key 'lr' stands twice; keep one"),
        ("lora:\n  rank: 1\n  rank: 1", r"'rank' stands twice"),
        ("lr: [1", r"not valid YAML"),
        ("a: !!python/object/apply:os.system [x]", r"line 1: a has the tag .*os\.system; tags are not read"),
        ("split:\n  val_share: 0.5\n  test_share: 0.5", r"split\.val_share 0\.5 and split\.test_share 0\.5"),
        ("normalize:\n  min_s: 5\n  max_s: 5", r"normalize\.min_s 5\.0 must be below normalize\.max_s 5\.0"),
        ("train: {shard: true, processes: 2}", r"train\.shard is true, which is for train\.method: full"),
        ("train: {shard: true, method: full}", r"train\.processes of 2 and more"),
        ("train: {shard: true, method: full, processes: 2}\ngate: {step: 9}", r"and gate\.step: 0"),
        (
            "train: {shard: true, method: full, processes: 2, optimizer: adamw8bit}",
            r"adamw8bit, whose moments",
        ),
        ("train: {method: full}\nlora: {base_4bit: true}", r"lora\.base_4bit is true, which is for"),
        ("ingest:\n  corpus: ../mine", r"ingest\.corpus is '\.\./mine'.*without a slash"),
        ("ingest:\n  corpus: ''", r"ingest\.corpus is ''"),
        ("ingest:\n  corpus: /etc", r"ingest\.corpus is '/etc'"),
        ("ingest:\n  corpus: .", r"ingest\.corpus is '\.'"),
        ('ingest: {corpus: "a\\nb"}', r"ingest\.corpus is 'a\\nb'"),
        (f"ingest: {{corpus: {'ç' * 128}}}", r"ingest\.corpus is 'ç+\.\.\.ç+', .* at most 255 bytes"),
        ('model: "m$(touch x)"', r"model is 'm\$\(touch x\)', expected at most 64 of the letters"),
        ("model: ..", r"model is '\.\.', expected at most 64"),
        ("model: a/b", r"model is 'a/b', expected at most 64"),
        ("model: a b", r"model is 'a b', expected at most 64"),
        ("model: -rf", r"model is '-rf', expected at most 64"),
        ("model: voz-ção", r"model is 'voz-ção', expected at most 64"),
        ('model: "micro\\n"', r"model is 'micro\\n', expected at most 64"),
        (f"model: {'a' * 65}", r"model is 'a+', expected at most 64"),
        ("compare: {models: [micro, 'a;b']}", r"compare\.models is 'a;b', expected at most 64"),
        ("ingest:\n  corpus: ..", r"ingest\.corpus is '\.\.'"),
    ],
)
def test_every_fault_is_named(params, content, message):
    with pytest.raises(SettingsError, match=message) as caught:
        params(content)
    assert str(caught.value).startswith("params.yaml: ")


@pytest.mark.parametrize("field", ["lr", "seed", "shards", "epochs"])
def test_both_ends_of_a_range_are_allowed(params, field):
    bounds = {f.name: f.metadata.get("range") for f in dataclasses.fields(settings.Settings)}[field]
    for value in bounds:
        assert getattr(params(f"{field}: {value}\n"), field) == value


@pytest.mark.parametrize(
    "name", ["Conceição 2", "x; touch y #", "a'b", 'a"b', "$(touch z)", "-x", "~", "a|b"]
)
def test_a_corpus_folder_may_have_any_name(params, name):
    quoted = name.replace("'", "''")
    assert params(f"ingest: {{corpus: '{quoted}'}}").ingest.corpus == name


def test_a_models_file_with_a_name_for_the_shell_is_refused_though_it_is_there(params):
    (settings.MODELS / "micro.yaml").rename(settings.MODELS / "m$(touch x).yaml")
    with pytest.raises(SettingsError, match=r"model is 'm\$\(touch x\)', expected at most 64"):
        params('model: "m$(touch x)"')


def test_a_missing_and_an_unreadable_file_are_named(workplace):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: there is no such file"):
        settings.read(Path("nowhere.yaml"))
    Path("params.yaml").write_bytes("accent: é".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"params\.yaml: cannot be read"):
        settings.read(Path("params.yaml"))


@pytest.mark.parametrize("content", ["lrr: 1", "lr: 2", "model: no-such", "ingest:\n  language: tlh"])
def test_the_command_exits_2_with_one_message_and_touches_nothing(workplace, capsys, content):
    Path("params.yaml").write_text(content, encoding="utf-8")
    before = sorted(workplace.rglob("*"))
    assert cli.main(["corpus", "--out", "data/raw/demo"]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("sotaque corpus: params.yaml: ")
    assert "\n" not in message
    assert "Traceback" not in message
    assert sorted(workplace.rglob("*")) == before


def test_lookup_gives_plain_values():
    made = settings.Settings()
    assert settings.lookup(made, "lora") == dataclasses.asdict(made.lora) | {"modules_to_save": []}
    assert settings.lookup(made, "train.batch_clips") == made.train.batch_clips


def test_the_shipped_micro_model_is_accepted(workplace):
    assert model_spec.read("micro").sample_rate_hz == 24_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sample_rate_hz:", "sample_rate:"), r"unknown key sample_rate: 24000; did you mean sample_rate_hz"),
        (("backend: orpheus", "backend: other"), r"backend is 'other', allowed: orpheus"),
        (("weights_licence:", "# weights_licence:"), r"weights_licence is missing"),
    ],
)
def test_a_fault_in_a_model_s_file_is_named(workplace, change, message):
    path = settings.MODELS / "micro.yaml"
    content = path.read_text(encoding="utf-8")
    assert change[0] in content
    path.write_text(content.replace(*change, 1), encoding="utf-8")
    with pytest.raises(SettingsError, match=message) as caught:
        model_spec.read("micro")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("written", ["data/raw/lj", "./lj", "data/raw/lj/"])
def test_a_path_to_the_corpus_is_answered_with_the_name_of_its_folder(params, written):
    with pytest.raises(
        SettingsError, match=rf"params\.yaml: ingest\.corpus is '{written}', expected .*; write lj, "
    ):
        params(f"ingest: {{corpus: {written}}}")


@pytest.mark.parametrize(
    ("written", "code"), [("pt-BR", "pt"), ("Portuguese", "pt"), ("spa", "es"), ("EN", "en")]
)
def test_another_spelling_of_a_language_is_answered_with_its_code(params, written, code):
    with pytest.raises(SettingsError) as caught:
        params(f"ingest: {{language: {written}}}")
    expected = f"params.yaml: ingest.language is '{written}'; did you mean {code}? Write {code}"
    assert str(caught.value) == expected
