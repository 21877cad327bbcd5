import dataclasses
import subprocess
from pathlib import Path

import pytest
import torch

from sotaque import backends, fetch, files, model_spec, settings
from sotaque.backends.families import (
    FAMILIES,
    ChatterboxGeneration,
    CsmGeneration,
    OpenAudioGeneration,
    OrpheusGeneration,
)
from sotaque.errors import ModelError, SettingsError

SPEC = """
backend: orpheus
about: for tests
weights_licence: none
sample_rate_hz: 24000
network: {folder: parts/network}
codec: {folder: parts/codec}
asr: {folder: parts/asr}
lora_targets: [q_proj]
"""


@pytest.fixture
def parts(workplace):
    """A model whose parts lie in local folders, as params.yaml's model."""
    network = ("config.json", "tokenizer.json", "model.safetensors", "README.md")
    codec = ("config.json", "pytorch_model.bin")
    for name in (*(f"network/{n}" for n in network), *(f"codec/{n}" for n in codec), "asr/tiny.pt"):
        files.write_text(Path("parts") / name, f"bytes of {name}")
    Path("workflow/models/mine.yaml").write_text(SPEC)
    Path("params.yaml").write_text("model: mine\n")
    return workplace


def run():
    found = settings.read(Path("params.yaml"))
    out = Path("models/mine/base")
    fetch.run(found, model=model_spec.path_of("mine"), out=out)
    return out


def rewrite(old, new):
    path = Path("workflow/models/mine.yaml")
    path.write_text(path.read_text().replace(old, new))


def test_a_local_folder_becomes_the_base(parts):
    out = run()
    names = [p.relative_to(out).as_posix() for p in files.walk(out)]
    assert names == ["asr/tiny.pt", "codec/config.json", "codec/pytorch_model.bin", "network/config.json",
                     "network/model.safetensors", "network/tokenizer.json"]  # fmt: skip
    assert (out / "asr/tiny.pt").read_text() == "bytes of asr/tiny.pt"


def test_the_base_shares_no_file_with_the_source(parts):
    """A change in place of the one leaves the other alone."""
    out = run()
    with (out / "network/model.safetensors").open("r+b") as stream:
        stream.write(b"CHANGED")
    assert Path("parts/network/model.safetensors").read_text() == "bytes of network/model.safetensors"
    assert (out / "network/model.safetensors").read_bytes().startswith(b"CHANGED")


def test_of_the_hubs_cache_the_base_holds_read_only_links(parts, monkeypatch):
    """The cache as the hub client lays it out: a name that is a link to a blob."""
    revision = "0" * 40
    cache = Path("cache/models--some--codec")
    blobs = {"config.json": "aaa", "pytorch_model.bin": "bbb"}
    for name, blob in blobs.items():
        files.write_text(cache / "blobs" / blob, f"bytes of {name}")
        (cache / "snapshots" / revision).mkdir(parents=True, exist_ok=True)
        (cache / "snapshots" / revision / name).symlink_to(f"../../blobs/{blob}")
    rewrite("{folder: parts/codec}", f"{{hub: some/codec, revision: '{revision}'}}")
    snapshot = str((cache / "snapshots" / revision).absolute())
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: snapshot)
    out = run()
    for name, blob in blobs.items():
        status = (out / "codec" / name).stat()
        assert status.st_ino == (cache / "blobs" / blob).stat().st_ino
        assert status.st_mode & 0o777 == 0o444
    assert (out / "asr/tiny.pt").stat().st_mode & 0o777 == 0o644
    (cache / "blobs/bbb").chmod(0o644)
    (cache / "blobs/bbb").write_text("rotten")
    with pytest.raises(ModelError, match=r"codec is not what it was when .*delete it in the cache"):
        run()


def test_a_source_that_changed_since_the_first_fetch_is_refused(parts):
    """The way of the damage: source, base and seal would all agree on the damaged bytes."""
    out = run()
    whole = Path("parts/asr/tiny.pt").read_bytes()
    Path("parts/asr/tiny.pt").write_text("rotten")
    files.remove(out)
    told = r"asr is not what .* parts/asr/tiny.pt: sha256 was \w+ and is \w+\. .*git checkout -- parts/asr"
    with pytest.raises(ModelError, match=told):
        run()
    assert not out.exists()
    Path("parts/asr/tiny.pt").write_bytes(whole)
    assert (run() / "asr/tiny.pt").read_bytes() == whole


def test_a_source_that_was_changed_on_purpose_is_taken_when_the_record_is_deleted(parts):
    run()
    Path("parts/asr/tiny.pt").write_text("newer")
    with pytest.raises(ModelError, match=r"changed it on purpose, delete models/mine/base.record.json"):
        run()
    Path("models/mine/base.record.json").unlink()
    assert (run() / "asr/tiny.pt").read_text() == "newer"


def test_another_source_in_the_models_file_begins_a_new_record(parts):
    run()
    files.write_text(Path("other/tiny.pt"), "other")
    rewrite("{folder: parts/asr}", "{folder: other}")
    assert (run() / "asr/tiny.pt").read_text() == "other"
    assert files.read_record(Path("models/mine/base.record.json"))["asr"]["source"]["folder"] == "other"


def test_what_a_newer_commit_brought_is_no_damage(parts):
    """The shipped models lie in git, and a pull may bring others."""

    def git(*words):
        identity = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", *identity, *words], check=True, capture_output=True)

    git("init", "--quiet")
    git("add", "parts")
    git("commit", "--quiet", "--message", "first")
    run()
    Path("parts/asr/tiny.pt").write_text("newer")
    with pytest.raises(ModelError, match="asr is not what it was"):
        run()
    git("commit", "--quiet", "--all", "--message", "second")
    assert (run() / "asr/tiny.pt").read_text() == "newer"


@pytest.mark.parametrize("content", ["", "[]", '{"asr": 1, "codec": {"source": {}, "files": []}}'])
def test_a_damaged_record_begins_anew(parts, content):
    run()
    Path("models/mine/base.record.json").write_text(content)
    run()
    assert set(files.read_record(Path("models/mine/base.record.json"))) == {"network", "codec", "asr"}


def test_a_pinned_checksum_is_checked(parts):
    good = files.sha256(Path("parts/asr/tiny.pt"))
    rewrite("{folder: parts/asr}", f"{{folder: parts/asr, sha256: {{tiny.pt: {good}}}}}")
    run()
    Path("parts/asr/tiny.pt").write_text("rotten")
    with pytest.raises(ModelError, match=rf"mine.yaml: asr/tiny.pt has sha256 \w+, expected {good}"):
        run()
    assert not list(Path("models/mine").glob(".base*")), "a failed fetch leaves nothing behind"


@pytest.mark.parametrize(
    "lost", ["network/tokenizer.json", "network/model.safetensors", "codec/config.json", "asr/tiny.pt"]
)
def test_a_folder_that_lacks_a_file_is_told_which(parts, lost):
    (Path("parts") / lost).unlink()
    part, name = lost.split("/")
    with pytest.raises(ModelError, match=f"{part} lacks .*{'.pt' if part == 'asr' else name.split('.')[-1]}"):
        run()


def test_a_file_that_files_leaves_out_is_told_with_what_it_takes(parts):
    rewrite("{folder: parts/network}", "{folder: parts/network, files: ['*.json', 'transformers*']}")
    told = r"lacks \*.safetensors; found: .*where network.files takes only \*.json, transformers\*; "
    with pytest.raises(ModelError, match=told):
        run()


def test_each_family_needs_its_own_files(parts):
    rewrite("backend: orpheus", "backend: csm")
    (Path("parts/codec") / "config.json").unlink()
    with pytest.raises(ModelError, match=r"codec lacks config.json; .*expected: config.json, \*.safetensors"):
        run()


def test_one_folder_may_be_network_and_codec(parts):
    """Each part takes of it what `files` names; the two share one copy of a file that both take."""
    rewrite("backend: orpheus", "backend: csm")
    both = "{folder: parts/network, files: [config.json, '*.safetensors', %s]}"
    rewrite("network: {folder: parts/network}", f"network: {both % 'tokenizer.json'}")
    rewrite("codec: {folder: parts/codec}", f"codec: {both % 'nothing'}")
    out = run()
    assert [p.name for p in files.walk(out / "codec")] == ["config.json", "model.safetensors"]
    network, codec = (out / part / "model.safetensors" for part in ("network", "codec"))
    source = Path("parts/network/model.safetensors")
    assert network.stat().st_ino == codec.stat().st_ino != source.stat().st_ino


def test_a_package_that_is_not_installed_comes_with_the_command(monkeypatch, tmp_path):
    lacking = dataclasses.replace(FAMILIES["csm"], packages=("transformers", "no_such_package"))
    monkeypatch.setitem(FAMILIES, "csm", dataclasses.replace(lacking, install="make backends"))
    with pytest.raises(ModelError, match=r"backend csm needs .* no_such_package, .*; type: make backends"):
        backends.load("csm", tmp_path, torch.device("cpu"))


@pytest.mark.parametrize(("backend", "generation", "kind"), [
    ("orpheus", "{top_p: 0.5}", OrpheusGeneration(top_p=0.5)), ("csm", "{top_k: 9}", CsmGeneration(top_k=9)),
    ("chatterbox", "{cfg: 0.0}", ChatterboxGeneration(cfg=0.0)), ("openaudio", "", OpenAudioGeneration()),
])  # fmt: skip
def test_generation_is_that_of_the_backends_family(parts, backend, generation, kind):
    rewrite("backend: orpheus", f"backend: {backend}\ngeneration: {generation}")
    assert model_spec.read("mine").generation == kind


@pytest.mark.parametrize("model", ["chatterbox-es-latam", "chatterbox-pt-br"])
def test_a_shipped_file_whose_folder_nobody_named_stops_the_first_look(workplace, model):
    Path("params.yaml").write_text(f"model: {model}\n")
    with pytest.raises(SettingsError, match=r"network.folder is FOLDER and codec.folder is FOLDER"):
        model_spec.of(settings.read(Path("params.yaml")))


@pytest.mark.parametrize(("backend", "allowed"), [
    ("orpheus", True), ("chatterbox", True), ("csm", False), ("openaudio", False),
])  # fmt: skip
def test_frames_are_dropped_only_where_no_reference_is_made_of_them(parts, backend, allowed):
    """Training would hear references without their repeated frames, and speaking whole ones."""
    rewrite("backend: orpheus", f"backend: {backend}")
    Path("params.yaml").write_text("model: mine\ntokenize: {drop_repeated_frames: true}\n")
    found = settings.read(Path("params.yaml"))
    if allowed:
        assert model_spec.of(found).backend == backend
        return
    with pytest.raises(SettingsError, match=rf"drop_repeated_frames is true, but {backend}, the .*mine"):
        model_spec.of(found)


def test_every_model_that_is_shipped_can_be_read_when_it_is_pinned(workplace):
    for path in sorted(Path("workflow/models").glob("*.yaml")):
        text = path.read_text().replace("revision: REVISION", f"revision: '{40 * '0'}'")
        path.write_text(text.replace("folder: FOLDER", "folder: mine"))
        spec = model_spec.read(path.stem)
        assert spec.backend in FAMILIES
        assert spec.about
        assert spec.weights_licence


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("../../..", "codec.folder is '../../..', which holds"),
        (".", "codec.folder is '.', which holds"),
        ("/", "codec.folder is '/', which holds"),
        (
            "models",
            "codec.folder is 'models', which holds models/mine/base, where the part is copied",
        ),
        ("models/mine/base/codec", "which holds models/mine/base, .* or lies in it"),
        ("loop", "codec.folder is 'loop', which cannot be looked at"),
        ("x" * 300, "which cannot be looked at: .*File name too long"),
        ("many", "which holds at least 1001 entries of .* bytes; a part has at most 1000"),
        ("huge", "which holds at least 1 entries of 1000000000000 bytes"),
    ],
)
def test_a_folder_that_is_no_part_is_refused_before_anything_is_hashed_or_copied(parts, folder, told):
    if folder == "loop":
        Path("loop").symlink_to("loop")
    if folder == "many":
        for number in range(model_spec.MAX_FILES + 1):
            files.write_text(Path(f"many/{number // 100}/{number}.bin"), "")
    if folder == "huge":
        Path("huge").mkdir()
        with open("huge/model.safetensors", "wb") as stream:
            stream.truncate(10**12)
    rewrite("{folder: parts/codec}", f"{{folder: {folder}}}")
    with pytest.raises(SettingsError, match=f"workflow/models/mine.yaml: .*{told}"):
        model_spec.read("mine")
    assert not Path("models/mine").exists()


def test_a_missing_folder_says_what_to_put_there(parts):
    rewrite("parts/codec", "elsewhere")
    with pytest.raises(ModelError, match=r"codec.folder is elsewhere.*put config.json, pytorch_model.bin or"):
        run()


def test_a_hub_repository_without_the_network_says_what_to_put_where(parts, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    rewrite("{folder: parts/codec}", "{hub: nobody/nothing, revision: '" + "0" * 40 + "'}")
    Path("params.yaml").write_text("model: mine\nfetch: {offline: true}\n")
    with pytest.raises(
        ModelError, match=r"codec could not be fetched from the hub repository nobody/nothing .*folder: PATH"
    ):
        run()


def test_a_whisper_checkpoint_must_be_one_that_whisper_knows(parts):
    rewrite("{folder: parts/asr}", "{whisper: enormous}")
    with pytest.raises(ModelError, match=r"asr.whisper is 'enormous', allowed: tiny.en, tiny"):
        run()


@pytest.mark.parametrize(("old", "new", "told"), [
    ("{folder: parts/codec}", "{folder: a, hub: b/c}", "codec must name exactly one of folder, hub, whisper"),
    ("{folder: parts/codec}", "{}", "codec must name exactly one of folder, hub, whisper; it names none"),
    ("{folder: parts/codec}", "{folder: ''}", "codec.folder is empty"),
    ("{folder: parts/codec}", "{whisper: tiny}", "codec.whisper is 'tiny', and only asr can be"),
    ("backend: orpheus", "backend: orpheus\ngeneration: []", r"generation is \[\], expected a mapping"),
    ("backend: orpheus", "backend: orpheus\nlearning: false", "learning is False, expected a mapping"),
    ("backend: orpheus", "backend: openaudio\nlearning: {x: 1}", "learning.x: 1; allowed here: none"),
    ("{folder: parts/codec}", "{hub: b/c}", "without a revision"),
    ("{folder: parts/codec}", "{hub: b/c, revision: main}", "40 hexadecimal digits"),
    ("{folder: parts/codec}", "{folder: FOLDER}", "codec.folder is FOLDER, which stands for a folder"),
    ("backend: orpheus", "backend: csm\nlearning: {depth_share: 2}", "learning.depth_share is 2.0, allowed:"),
    ("backend: orpheus", "backend: orpheus\nlearning: {depth_share: 1}", "unknown key learning.depth_share"),
    ("backend: orpheus", "backend: parrot", "backend is 'parrot', allowed: orpheus"),
    ("lora_targets: [q_proj]", "lora_target: [q_proj]", "unknown key lora_target.*did you mean lora_targets"),
    ("sample_rate_hz: 24000", "", "sample_rate_hz is missing"),
    ("backend: orpheus", "backend: csm\ngeneration: {top_p: 1}", "unknown key generation.top_p: 1"),
    ("backend: orpheus", "backend: csm\ngeneration: {top_k: -1}", "generation.top_k is -1, allowed: 0 to"),
    ("lora_targets: [q_proj]", "lora_targets: '(q_proj'", r"lora_targets is '\(q_proj', expected a list"),
    ("lora_targets: [q_proj]", "lora_targets: []", "lora_targets is empty, .*expected names of modules"),
    ("lora_targets: [q_proj]", "lora_targets: ''", "lora_targets is empty, .*expected names of modules"),
    ("lora_targets: [q_proj]", "lora_targets: 'a{99999999999999}'", "lora_targets is .*, expected a list"),
    ("lora_targets: [q_proj]", f"lora_targets: '{'(' * 9000}'", "lora_targets is .*, expected a list"),
    ("{folder: parts/codec}", "{folder: a, files: ['']}", "codec.files holds '', expected patterns"),
    ("lora_targets: [q_proj]", "lora_targets: 5", "lora_targets is 5, expected a list"),
])  # fmt: skip
def test_a_fault_in_the_models_file_is_named(parts, old, new, told):
    rewrite(old, new)
    with pytest.raises(SettingsError, match=f"workflow/models/mine.yaml: .*{told}"):
        model_spec.read("mine")
