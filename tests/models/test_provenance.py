"""Which models may be loaded: of allowed operations, wherever others hide, and of files that are theirs."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import text_format
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.errors import FailedPrecondition, LoadError, ServingError, SettingsError
from serving.models.loader import Loader
from serving.models.manifest import write_manifest
from serving.models.ops import ALLOWED_OPS_FILE, allow_list, parse_allowed
from serving.models.provenance import Inspector
from serving.models.signing import sign, signed_by, watched
from serving.settings import Settings
from tests import hostile_models, saved_models
from tests.conftest import Held
from tests.publisher import Publisher, inspect_signed
from tests.rest.api import predict, result, serve

HONEST = {
    "bytes_output": saved_models.bytes_output,
    "cannot_be_run": saved_models.cannot_be_run,
    "conv": saved_models.conv,
    "counter": saved_models.counter,
    "echo": saved_models.echo,
    "endless": saved_models.endless,
    "examples": saved_models.examples,
    "examples_of_tf1": partial(saved_models.examples, old_parser=True),
    "examples_of_tf2": saved_models.examples_of_tf2,
    "half_plus_two": saved_models.half_plus_two,
    "large_vocabulary": partial(hostile_models.large_vocabulary, words=1000),
    "optimizer_slots": saved_models.optimizer_slots,
    "raises": saved_models.raises,
    "several_inputs": saved_models.several_inputs,
    "several_signatures": saved_models.several_signatures,
    "slow": saved_models.slow,
    "table_kept_as_variable": hostile_models.table_kept_as_variable,
    "vocabulary": saved_models.vocabulary,
    "vocabulary_of_tf1": saved_models.vocabulary_of_tf1,
    "vocabulary_of_tf1_legacy": partial(saved_models.vocabulary_of_tf1, legacy=True),
}

WRITING = {
    "in a function": hostile_models.writes_in_a_function,
    "in a branch": hostile_models.writes_in_a_branch,
    "in the body of a loop": hostile_models.writes_in_a_loop,
    "in a second graph": hostile_models.in_a_second_graph,
    "in an unused function": hostile_models.in_an_unused_function,
    "as a function of that name": hostile_models.function_called_like_an_op,
    "in the graph of a data set": partial(hostile_models.data_set_from_a_graph, text=hostile_models.writing_graph()),
    **{
        f"in a string of a {where}": partial(
            hostile_models.graph_in_an_attribute, text=hostile_models.writing_graph(), where=where
        )
        for where in ("node", "list", "function", "call")
    },
    "in a string, in a function": partial(
        hostile_models.graph_in_an_attribute, text=hostile_models.writing_function(), where="node"
    ),
    "in a packed string": partial(
        hostile_models.graph_in_an_attribute, text=hostile_models.packed_graph(), where="node"
    ),
    "in a string of a string": partial(
        hostile_models.graph_in_an_attribute, text=hostile_models.nested_graph(3), where="node"
    ),
}

MISUSING = {
    "SaveV2 in a signature": (hostile_models.saves_when_run, "SaveV2"),
    "SaveV2 beside the restore": (hostile_models.saves_while_it_restores, "SaveV2"),
    "RestoreV2 in a signature": (hostile_models.restores_when_run, "RestoreV2"),
    "RestoreV2 in a function called by name": (
        hostile_models.restores_in_a_function_called_by_its_name,
        "RestoreV2",
    ),
    "RestoreV2 in a twin": (hostile_models.restores_in_a_twin, "RestoreV2"),
    "RestoreV2 of another file": (hostile_models.restores_another_file, "RestoreV2"),
    "a table of another file": (hostile_models.table_of_another_file, "InitializeTableFromTextFileV2"),
    "a table filled when run": (hostile_models.table_filled_when_run, "InitializeTableFromTextFileV2"),
    "a table's path set twice": (hostile_models.asset_path_from_the_checkpoint, "InitializeTableFromTextFileV2"),
    "a table filled by a client": (hostile_models.table_filled_by_a_client, "InitializeTableFromTextFileV2"),
    "a table's path by a second handle": (
        hostile_models.asset_path_under_another_handle,
        "InitializeTableFromTextFileV2",
    ),
    "a table's path without a saver": (hostile_models.asset_path_restored_by_default, "InitializeTableFromTextFileV2"),
    "RestoreV2 in a string": (
        partial(hostile_models.graph_in_an_attribute, text=hostile_models.writing_graph("RestoreV2"), where="node"),
        "RestoreV2",
    ),
}


def inspect(path: Path, *named: str, require_manifest: bool = False, model_dir: Path | None = None) -> None:
    Inspector(allow_list(named), require_manifest, model_dir)(path)


def refusal(path: Path, *named: str, **demands: bool) -> str:
    with pytest.raises(ServingError) as caught:
        inspect(path, *named, **demands)
    return caught.value.message


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader(Settings(), gpus=[])


class TestOperations:
    @pytest.mark.parametrize("write", HONEST.values(), ids=HONEST)
    def test_honest_models_pass(self, write: Callable[[Path], object], tmp_path: Path) -> None:
        write(tmp_path / "1")
        inspect(tmp_path / "1")

    @pytest.mark.parametrize("write", WRITING.values(), ids=WRITING)
    def test_an_operation_that_writes_files_is_found(self, write: Callable[[Path], object], tmp_path: Path) -> None:
        write(tmp_path / "1")
        message = refusal(tmp_path / "1", "DatasetFromGraph")  # named, so that what it hides is what is refused
        assert message.startswith("operations that are not allowed: WriteFile (node '")
        assert message.endswith("SERVING_ALLOW_OPS=WriteFile would allow them")

    @pytest.mark.parametrize(("write", "op"), MISUSING.values(), ids=MISUSING)
    def test_an_operation_on_files_that_are_not_the_models_own_is_found(
        self, write: Callable[[Path], object], op: str, tmp_path: Path
    ) -> None:
        write(tmp_path / "1")
        assert refusal(tmp_path / "1").startswith(f"operations that are not allowed: {op} (")

    @pytest.mark.parametrize(
        ("op", "strings"),
        [
            ("ReadFile", {}),
            ("MatchingFiles", {}),
            ("PyFunc", {"token": b"pyfunc_0"}),
            ("PyFuncStateless", {}),
            ("EagerPyFunc", {}),
            ("TFRecordDatasetV2", {}),
            ("TextLineReaderV2", {}),
            ("CacheDatasetV2", {}),
            ("DatasetFromGraph", {}),
            ("DataServiceDatasetV4", {}),
            ("RpcClient", {}),
            ("DebugIdentityV2", {}),
            ("CopyHost", {}),
            ("ImmutableConst", {"memory_region_name": b"/etc/passwd"}),
            ("LoadAndRemapMatrix", {}),
            ("CreateSummaryFileWriter", {}),
            ("XlaHostCompute", {}),
            ("XlaCallModule", {}),
            ("_Send", {}),
            ("Abort", {}),
            ("NoSuchOp", {}),
            ("PrintV2", {"output_stream": b"file:///tmp/x"}),
            ("PrintV2", {"output_stream": b"stdout"}),
            ("DecodeProtoV2", {"descriptor_source": b"/etc/passwd"}),
            ("FixedUnigramCandidateSampler", {"vocab_file": b"/etc/passwd"}),
        ],
    )
    def test_operations_that_reach_out_are_refused(self, op: str, strings: dict[str, bytes], tmp_path: Path) -> None:
        hostile_models.node_with(tmp_path / "1", op, **strings)
        assert refusal(tmp_path / "1") == (
            f"operations that are not allowed: {op} (node 'more'). SERVING_ALLOW_OPS={op} would allow them"
        )
        inspect(tmp_path / "1", op)

    @pytest.mark.parametrize("stream", [b"stderr", b"log(info)"])
    def test_messages_to_the_log_are_no_files(self, stream: bytes, tmp_path: Path) -> None:
        hostile_models.node_with(tmp_path / "1", "PrintV2", output_stream=stream)
        inspect(tmp_path / "1")

    def test_graphs_nested_too_deep_are_refused(self, tmp_path: Path) -> None:
        hostile_models.graph_in_an_attribute(tmp_path / "1", hostile_models.nested_graph(9), "node")
        assert "more than 8 deep" in refusal(tmp_path / "1")

    def test_a_model_as_text_is_checked_too(self, tmp_path: Path) -> None:
        hostile_models.in_an_unused_function(tmp_path / "1")
        binary = tmp_path / "1" / "saved_model.pb"
        saved = SavedModel.FromString(binary.read_bytes())
        (tmp_path / "1" / "saved_model.pbtxt").write_text(text_format.MessageToString(saved))
        binary.unlink()
        assert "WriteFile (node 'write' of function 'unused')" in refusal(tmp_path / "1")

    @pytest.mark.parametrize("filename", ["../../secret", "/etc/passwd", "words/../../../secret", "..data/words"])
    def test_an_asset_outside_its_directory_is_refused(self, filename: str, tmp_path: Path) -> None:
        hostile_models.asset_elsewhere(tmp_path / "1", filename)
        assert refusal(tmp_path / "1") == f"the asset {filename!r} is not below the directory of assets"

    def test_an_error_names_each_operation_once_and_few_of_them(self, tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "1")

        def change(saved: SavedModel) -> None:
            for op in ("ReadFile", "WriteFile", "PyFunc", "Abort", "A", "B", "C") * 2:
                saved.meta_graphs[0].graph_def.node.add(name=f"{op}-node", op=op)

        hostile_models.rewrite(tmp_path / "1", change)
        message = refusal(tmp_path / "1")
        assert message.endswith("SERVING_ALLOW_OPS=ReadFile,WriteFile,PyFunc,Abort,A would allow them")
        assert message.count("ReadFile (") == 1


class TestTheListOfOperations:
    def test_a_line_with_a_condition_is_one_operation(self) -> None:
        allowed = parse_allowed("# comment\nAdd Mul\nPrintV2 output_stream=stderr|log\n")
        assert allowed.keys() == {"Add", "Mul", "PrintV2"}
        assert allowed["Add"] is None

    def test_tensorflow_knows_every_operation_of_it(self) -> None:
        from tensorflow.python.framework import op_def_registry

        assert [op for op in parse_allowed(ALLOWED_OPS_FILE.read_text()) if op_def_registry.get(op) is None] == []


class TestTheServer:
    """The same through the loader, which the server calls."""

    def test_a_hostile_model_is_refused_and_its_file_not_written(self, loader: Loader, tmp_path: Path) -> None:
        hostile_models.writes_in_a_function(tmp_path / "1")
        with pytest.raises(LoadError, match="operations that are not allowed: WriteFile") as caught:
            loader("hostile", 1, tmp_path / "1")
        assert caught.value.code == "FAILED_PRECONDITION"
        assert not hostile_models.written_file(tmp_path / "1").exists()

    def test_named_by_the_operator_it_is_loaded_and_does_write(self, tmp_path: Path) -> None:
        """Also the proof that the check above has something to find."""
        hostile_models.writes_in_a_function(tmp_path / "1")
        model = Loader(Settings(allow_ops=("WriteFile",)), gpus=[])("hostile", 1, tmp_path / "1")
        model.run("serving_default", {"x": np.float32([1])})
        assert hostile_models.written_file(tmp_path / "1").read_text() == "here"
        model.close()

    def test_a_file_that_changes_while_it_is_loaded_is_refused(self, tmp_path: Path) -> None:
        """The model changes itself, when its golden request is asked."""
        hostile_models.writes_into_itself(tmp_path / "1")
        (tmp_path / "1" / "golden").mkdir()
        (tmp_path / "1" / "golden" / "one.json").write_text(
            '{"request": {"instances": [1.0]}, "response": {"predictions": [1.0]}}'
        )
        allowing = Loader(Settings(allow_ops=("WriteFile",)), gpus=[])
        with pytest.raises(LoadError, match=r"^assets/more changed while the model was being loaded$"):
            allowing("changing", 1, tmp_path / "1")

    def test_the_old_version_serves_on_and_the_status_says_why_the_new_one_does_not(self, tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "half" / "1")
        hostile_models.in_an_unused_function(tmp_path / "half" / "2")
        with serve(model_dir=tmp_path) as client:
            assert result(predict(client, "half", {"instances": [[1.0]]})) == {"predictions": [[2.5]]}
            newest = result(client.get("/v1/models/half"))["model_version_status"][0]
        assert (newest["version"], newest["state"]) == ("2", "END")
        assert newest["status"]["error_message"].startswith("operations that are not allowed: WriteFile (node 'write'")

    def test_a_table_from_a_file_in_the_assets_works(self, loader: Loader, tmp_path: Path) -> None:
        hostile_models.table_kept_as_variable(tmp_path / "1")
        model = loader("words", 1, tmp_path / "1")
        answer = model.run("serving_default", {"word": np.array([b"banana"], object)})
        assert answer["id"].tolist() == [1]
        model.close()


class TestManifests:
    @pytest.fixture
    def version(self, tmp_path: Path) -> Path:
        saved_models.vocabulary(tmp_path / "1")
        write_manifest(tmp_path / "1")
        return tmp_path / "1"

    def test_a_model_as_its_manifest_says_passes(self, version: Path) -> None:
        inspect(version, require_manifest=True)

    def test_it_lists_size_and_digest_of_every_file_but_itself(self, version: Path) -> None:
        files = json.loads((version / "manifest.json").read_text())["files"]
        found = {str(file.relative_to(version)) for file in version.rglob("*") if file.is_file()}
        assert files.keys() == found - {"manifest.json"}
        assert files["assets/vocabulary.txt"] == {
            "bytes": 20,
            "sha256": hashlib.sha256(b"apple\nbanana\ncherry\n").hexdigest(),
        }

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda path: (path / "assets/vocabulary.txt").unlink(), "assets/vocabulary.txt is in manifest.json, but"),
            (lambda path: (path / "assets/more.txt").touch(), "assets/more.txt is not in manifest.json"),
            (
                lambda path: saved_models.truncate(path / "variables/variables.index"),
                "variables/variables.index has ",
            ),
            (
                lambda path: saved_models.garble(path / "assets/vocabulary.txt"),
                "assets/vocabulary.txt is not the file that manifest.json lists: its SHA-256 is another",
            ),
            (lambda path: saved_models.garble(path / "saved_model.pb"), "saved_model.pb is not the file that"),
            (lambda path: saved_models.truncate(path / "manifest.json"), "manifest.json cannot be read"),
            (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
            (lambda path: (path / "manifest.json").write_text('{"files": {"a": 1}}'), "manifest.json cannot be read"),
        ],
        ids=["missing", "more", "shorter", "altered", "altered-graph", "half", "no-object", "no-entry"],
    )
    def test_anything_else_is_refused_by_name(
        self, damage: Callable[[Path], object], message: str, version: Path
    ) -> None:
        damage(version)
        assert refusal(version).startswith(message)

    def test_a_model_without_one_passes_unless_one_is_required(self, version: Path) -> None:
        (version / "manifest.json").unlink()
        inspect(version)
        assert refusal(version, require_manifest=True) == (
            "manifest.json is missing, and SERVING_REQUIRE_MANIFEST demands one"
        )

    def test_it_may_be_written_anew(self, version: Path) -> None:
        (version / "assets/more.txt").touch()
        write_manifest(version)
        inspect(version)

    def test_a_directory_without_files_gets_none(self, tmp_path: Path) -> None:
        (tmp_path / "1").mkdir()
        with pytest.raises(FailedPrecondition, match="holds no files"):
            write_manifest(tmp_path / "1")

    def test_no_flipped_bit_passes(self, version: Path) -> None:
        refused, unnoticed = flip(version, 20)
        assert refused == 20
        assert unnoticed > 0
        assert passes(version)

    @pytest.mark.faults
    def test_none_of_two_hundred_flipped_bits_passes(self, version: Path, held: Held) -> None:
        refused, unnoticed = flip(version, 200)
        held(
            "200 single-bit flips in a model with a manifest",
            "200 refused",
            f"{refused} refused; without the manifest {unnoticed} would pass the other checks",
        )
        assert refused == 200
        assert unnoticed > 0
        assert passes(version)


def flip(version: Path, flips: int) -> tuple[int, int]:
    """How many of so many flips are refused, and how many pass without the manifest.

    Every file in turn is flipped at a place drawn from a seed, and mended again.
    """
    draw = np.random.default_rng(7)
    files = sorted(file for file in version.rglob("*") if file.is_file())
    refused = unnoticed = 0
    for number in range(flips):
        file = files[number % len(files)]
        content = file.read_bytes()
        bit = int(draw.integers(8 * len(content)))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        refused += passes(version) is False
        (version / "manifest.json").rename(version.parent / "aside")
        unnoticed += passes(version)
        (version.parent / "aside").rename(version / "manifest.json")
        file.write_bytes(content)
    return refused, unnoticed


def passes(version: Path) -> bool:
    try:
        inspect(version)
    except ServingError:
        return False
    return True


class TestSignatures:
    @pytest.fixture
    def publisher(self, tmp_path: Path) -> Publisher:
        return Publisher(tmp_path / "publisher")

    @pytest.fixture
    def version(self, publisher: Publisher, tmp_path: Path) -> Path:
        saved_models.vocabulary(tmp_path / "1")
        write_manifest(tmp_path / "1", publisher.sign)
        return tmp_path / "1"

    def test_a_version_signed_by_one_of_the_keys_passes(
        self, publisher: Publisher, version: Path, tmp_path: Path
    ) -> None:
        inspect_signed(version, publisher.public)
        both = tmp_path / "both.pem"
        both.write_bytes(Publisher(tmp_path / "other").public.read_bytes() + b"\n" + publisher.public.read_bytes())
        inspect_signed(version, both)

    def test_it_passes_where_nobody_asks_for_a_signature(self, version: Path) -> None:
        inspect(version, require_manifest=True)

    def test_it_is_the_signature_that_the_standard_says(self, tmp_path: Path) -> None:
        seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"  # the second example of RFC 8032
        publisher = Publisher(tmp_path / "standard", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
        assert publisher.sign(b"\x72").hex() == (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        )

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing, and SERVING_MANIFEST_"),
            (lambda path: (path / "manifest.json.sig").unlink(), "manifest.json.sig is missing, and SERVING_MANIFEST_"),
            (lambda path: saved_models.garble(path / "manifest.json.sig"), "manifest.json.sig is no signature of"),
            (lambda path: (path / "manifest.json.sig").write_bytes(b""), "manifest.json.sig is no signature of"),
            (lambda path: (path / "manifest.json.sig").write_bytes(bytes(1025)), "manifest.json.sig is larger than"),
            (lambda path: saved_models.garble(path / "manifest.json"), "manifest.json.sig is no signature of"),
            (lambda path: saved_models.garble(path / "saved_model.pb"), "saved_model.pb is not the file that"),
            (write_manifest, "manifest.json.sig is missing, and SERVING_MANIFEST_KEYS_FILE demands one"),
        ],
        ids=["no-manifest", "none", "garbled", "empty", "long", "of-another-text", "altered-file", "written-anew"],
    )
    def test_anything_else_is_refused(
        self, damage: Callable[[Path], object], message: str, publisher: Publisher, version: Path
    ) -> None:
        damage(version)
        with pytest.raises(ServingError) as caught:
            inspect_signed(version, publisher.public)
        assert caught.value.message.startswith(message)

    def test_the_signature_of_another_is_none(self, version: Path, tmp_path: Path) -> None:
        with pytest.raises(ServingError, match=r"manifest\.json\.sig is no signature"):
            inspect_signed(version, Publisher(tmp_path / "other").public)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "cannot be read: No such file"),
            ("", "holds no public key"),
            ("-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n", "key 1 is no public Ed25519 key"),
        ],
    )
    def test_keys_that_cannot_be_used_are_told(self, content: str | None, message: str, tmp_path: Path) -> None:
        keys = tmp_path / "keys.pem"
        if content is not None:
            keys.write_text(content)
        with pytest.raises(SettingsError) as caught:
            signed_by(keys)
        assert caught.value.message.startswith(f"{keys}: {message}")

    def test_a_key_that_cannot_be_used_beside_a_good_one_is_told(self, publisher: Publisher, tmp_path: Path) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(publisher.public.read_bytes() + publisher.public.read_bytes()[:-30])
        with pytest.raises(SettingsError, match=r"both\.pem: key 2 is no public Ed25519 key"):
            signed_by(both)

    def test_keys_may_be_exchanged_and_hold_until_others_can_be_read(
        self, publisher: Publisher, tmp_path: Path
    ) -> None:
        now, other, keys = [0.0], Publisher(tmp_path / "other"), tmp_path / "keys.pem"
        is_signed = watched(keys, lambda: now[0])
        with pytest.raises(FailedPrecondition, match="cannot be used"):
            is_signed(b"text", publisher.sign(b"text"))
        for content, holds, fails in (
            (publisher.public.read_bytes(), publisher, other),
            (b"nonsense", publisher, other),
            (other.public.read_bytes(), other, publisher),
        ):
            keys.write_bytes(content)
            now[0] += 10
            assert is_signed(b"text", holds.sign(b"text"))
            assert not is_signed(b"text", fails.sign(b"text"))

    def test_a_public_key_signs_nothing(self, publisher: Publisher) -> None:
        publisher.public.chmod(0o600)
        with pytest.raises(SettingsError, match="holds no private Ed25519 key"):
            sign(b"", publisher.public)

    def test_a_private_key_that_others_can_read_signs_nothing(self, publisher: Publisher) -> None:
        publisher.private.chmod(0o644)
        with pytest.raises(SettingsError, match="others than its owner can read"):
            publisher.sign(b"")

    def test_a_new_version_without_one_leaves_the_old_one(self, publisher: Publisher, tmp_path: Path) -> None:
        for version, signer in (("1", publisher.sign), ("2", None)):
            saved_models.half_plus_two(tmp_path / "models" / "half" / version)
            write_manifest(tmp_path / "models" / "half" / version, signer)
        with serve(model_dir=tmp_path / "models", manifest_keys_file=publisher.public) as client:
            assert result(predict(client, "half", {"instances": [[1.0]]})) == {"predictions": [[2.5]]}
            newest = result(client.get("/v1/models/half"))["model_version_status"][0]
        assert (newest["version"], newest["state"]) == ("2", "END")
        assert newest["status"]["error_message"].startswith("manifest.json.sig is missing")


class TestLinks:
    @pytest.fixture
    def version(self, tmp_path: Path) -> Path:
        saved_models.half_plus_two(tmp_path / "models" / "half" / "1")
        return tmp_path / "models" / "half" / "1"

    def test_a_file_that_is_a_link_out_of_the_root_is_refused(self, version: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        (version / "assets").mkdir(exist_ok=True)
        (version / "assets" / "words").symlink_to(tmp_path / "secret")
        assert refusal(version) == "assets/words is a link that leads out of the model root"

    def test_a_directory_that_is_a_link_out_of_the_root_is_refused(self, version: Path, tmp_path: Path) -> None:
        shutil.move(version / "variables", tmp_path / "variables")
        (version / "variables").symlink_to(tmp_path / "variables")
        assert refusal(version) == "variables is a link that leads out of the model root"

    def test_a_version_that_is_a_link_out_of_the_root_is_refused(self, version: Path, tmp_path: Path) -> None:
        (tmp_path / "other" / "half").mkdir(parents=True)
        (tmp_path / "other" / "half" / "1").symlink_to(version)
        with pytest.raises(FailedPrecondition, match="the version's directory is a link that leads out"):
            inspect(tmp_path / "other" / "half" / "1", model_dir=tmp_path / "other")

    def test_a_version_may_be_a_link_inside_the_root(self, version: Path, tmp_path: Path) -> None:
        (version.parent / "2").symlink_to(version)
        inspect(version.parent / "2", model_dir=tmp_path / "models")

    def test_the_root_itself_may_be_a_link(self, version: Path, tmp_path: Path) -> None:
        (tmp_path / "current").symlink_to(tmp_path / "models")
        inspect(tmp_path / "current" / "half" / "1", model_dir=tmp_path / "current")

    def test_a_mount_of_kubernetes_is_allowed_and_its_manifest_holds(self, version: Path, tmp_path: Path) -> None:
        write_manifest(version)
        mount = tmp_path / "mount" / "half" / "1"
        shutil.copytree(version, mount / "..2026_01_01")
        (mount / "..data").symlink_to("..2026_01_01")
        for entry in version.iterdir():
            (mount / entry.name).symlink_to(Path("..data") / entry.name)
        inspect(mount, require_manifest=True, model_dir=tmp_path / "mount")

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("nowhere", "more is a link that leads nowhere"),
            ("more", "more is a link that leads nowhere"),
            (".", "more is a link that leads in a circle"),
        ],
    )
    def test_links_that_lead_nowhere_or_in_circles_are_refused(self, target: str, message: str, version: Path) -> None:
        (version / "more").symlink_to(target)
        assert refusal(version) == message

    def test_a_pipe_is_refused_and_not_waited_for(self, version: Path) -> None:
        os.mkfifo(version / "golden.json")
        assert refusal(version) == "golden.json is neither a file nor a directory"
