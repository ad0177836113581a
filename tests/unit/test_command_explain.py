"""The `salience` command as people run it, against a made-up server on loopback."""

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience.v1 import map_pb2
from salience_client import PermissionDenied
from tests.support import fake_answers as fake

Image = pytest.importorskip("PIL.Image")
typer = pytest.importorskip("typer")

from typer.testing import CliRunner  # noqa: E402

from salience_client.commands import app  # noqa: E402


class Servicer(pb_grpc.ExplanationServiceServicer):
    """Answers with a map per target; remembers the last request.

    The model "lost" is not found, and "undescribed" is described to nobody.
    """

    asked = None

    def Explain(self, request, context):  # noqa: N802
        type(self).asked = request
        if request.model == "lost":
            context.abort(grpc.StatusCode.NOT_FOUND, "no model 'lost' here")
        names = [target.text for target in request.targets] or ["tabby"]
        targets = [fake.target(name, index) for index, name in enumerate(names)]
        yield fake.started()
        yield fake.prediction(*targets)
        for map_id, target in enumerate(targets):
            message = fake.map_message(fake.ramp(), map_id, resolved=target)
            message.raw_maximum = float("inf")
            if request.HasField("stop_when"):
                message.convergence.CopyFrom(
                    map_pb2.Convergence(
                        rows_skipped=240,
                        correlation=0.9512,
                        repeatable=not request.stop_when.HasField("seconds"),
                    )
                )
            if request.HasField("box"):
                message.box.CopyFrom(map_pb2.Rectangle(left=50, top=1, width=300, height=299))
            yield fake.progress(map_id, 100 * (map_id + 1), 100 * len(targets))
            yield fake.whole(message)
            if map_pb2.SCORE_KIND_INSERTION in request.scores:
                yield fake.curve_scores(map_id)
            elif request.scores:
                yield fake.scores(map_id)
        yield fake.finished(100 * len(targets), *[1.25] * len(targets))

    def ListModels(self, request, context):  # noqa: N802
        return fake.listing()

    def DescribeModel(self, request, context):  # noqa: N802
        if request.model == "undescribed":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "you may not describe models")
        return fake.description()


@pytest.fixture(scope="module")
def address():
    server = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_ExplanationServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "cat.png"
    Image.fromarray(np.full((300, 400, 3), 90, np.uint8)).save(file)
    return file


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def command(*arguments, encoding="utf-8"):
    """The command as a process of its own, with its exit code and both streams, so encoded."""
    return subprocess.run(
        [sys.executable, "-m", "salience_client.cli", *map(str, arguments)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        encoding=encoding,
        timeout=60,
    )


def explain(photo, address, *more):
    base = ("explain", photo, "--address", address, "--model", "lite0", "--method", "score-cam")
    return run(*base, *more)


def test_a_table_says_class_probability_scores_rows_and_seconds(photo, address):
    done = explain(photo, address, "--scores", "ad,ai,ag")

    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "cat.png (400×300) · lite0 1 on CPUExecutionProvider tabby p 0.7500" in text
    assert "Method Target AD % AI % AG % Rows Seconds" in text
    assert "score-cam tabby 12.5 0.0 3.2 100 1.25" in text


def test_scores_that_were_not_asked_for_have_no_column(photo, address):
    assert "AD" not in explain(photo, address).stdout


def test_curve_scores_and_boxes_have_columns_of_their_own(photo, address):
    done = explain(photo, address, "--scores", "insertion", "--curves", "polycam", "--box", "0.5")

    text = " ".join(done.stdout.split())
    assert "Method Target Ins Del Ins−Del Box Rows Seconds" in text
    assert "score-cam tabby 0.500 0.500 -0.062 300×299+50+1 100 1.25" in text
    assert Servicer.asked.curve_protocol == map_pb2.CURVE_PROTOCOL_POLYCAM
    assert Servicer.asked.box.threshold == 0.5


def test_json_has_curves_and_boxes(photo, address):
    done = explain(photo, address, "--scores", "insertion", "--box", "mean", "--json")

    (entry,) = json.loads(done.stdout)["methods"]
    assert entry["scores"] == {"insertion": 0.5, "deletion": 0.5, "insertion-deletion": -0.0625}
    assert entry["curve_protocol"] == "polycam"
    assert entry["curves"]["insertion"] == {
        "shares": [0, 0.5, 1],
        "probabilities": [0.25, 0.5, 0.75],
    }
    assert entry["box"] == {"left": 50, "top": 1, "width": 300, "height": 299}
    assert not Servicer.asked.box.HasField("threshold")


def test_a_map_that_ended_early_says_so_in_the_notes_and_in_json(photo, address):
    noted = " ".join(explain(photo, address, "--stop-at", "0.95").stdout.split())
    timed = " ".join(explain(photo, address, "--stop-after", "1").stdout.split())
    told = json.loads(explain(photo, address, "--stop-at", "0.95", "--json").stdout)
    whole = json.loads(explain(photo, address, "--json").stdout)

    assert "240 rows skipped at correlation ≈ 0.951" in noted
    assert "by the clock" not in noted
    assert "0.951, by the clock" in timed
    assert told["methods"][0]["convergence"] == {
        "rows_skipped": 240,
        "correlation": 0.9512,
        "repeatable": True,
    }
    assert whole["methods"][0]["convergence"] is None
    assert (whole["rows_spared"], whole["from_cache"]) == (0, False)
    assert whole["methods"][0]["tuning_digest"] == ""


def test_all_methods_are_those_that_the_model_can_answer(photo, address):
    done = run(
        *("explain", photo, "--address", address, "--model", "lite0", "--method", "all"),
        *("--option", "score-cam.samples=4"),
    )

    assert done.exit_code == 0, done.output
    assert [method.name for method in Servicer.asked.methods] == ["score-cam", "guided-backprop"]
    assert Servicer.asked.methods[0].options["samples"].integer == 4


def test_a_montage_has_the_photograph_and_every_map(photo, address, tmp_path):
    file = tmp_path / "deep" / "all.png"
    done = explain(photo, address, "--target", "a", "--target", "b", "--montage", file)

    assert f"a montage in {file}" in done.stdout
    assert "files in" not in done.stdout
    with Image.open(file) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert picture.width == 3 * (224 + 14) + 14


def test_json_is_one_object_and_nothing_else(photo, address, tmp_path):
    done = explain(photo, address, "--scores", "ad", "--json", "--out", tmp_path / "out")

    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert (report["model"], report["version"], report["digest"], report["provider"]) == (
        "lite0",
        "1",
        fake.DIGEST,
        "CPUExecutionProvider",
    )
    assert report["target"] == "tabby"
    (entry,) = report["methods"]
    assert entry["map"] == str(tmp_path / "out" / "score-cam.npy")
    assert entry["scores"] == {"ad": 12.5, "ai": 0.0, "ag": 3.25}
    assert (entry["rows"], entry["seconds"]) == (100, 1.25)
    assert (entry["gradient_side"], entry["degenerate"]) == ("none", False)
    assert entry["raw_maximum"] is None  # JSON has no infinity


def test_out_gets_numbers_and_an_overlay(photo, address, tmp_path):
    out = tmp_path / "deep" / "out"
    done = explain(photo, address, "--out", out)

    assert f"2 files in {out}" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["score-cam.npy", "score-cam.png"]
    np.testing.assert_array_equal(np.load(out / "score-cam.npy"), fake.ramp())


@pytest.mark.parametrize("place", ["cat.png/out", "/proc/self"])
@pytest.mark.parametrize("words", [("--out", "{}"), ("--montage", "{}/all.png")])
def test_where_nothing_can_be_written_nothing_is_asked(photo, address, words, place):
    Servicer.asked = None
    word, form = words
    done = explain(photo, address, word, form.format(photo.parent / place))

    assert isinstance(done.exception, OSError)
    assert Servicer.asked is None


def test_one_who_may_not_describe_a_model_hears_so_before_the_work(photo, address, tmp_path):
    Servicer.asked = None
    base = ("explain", photo, "--address", address, "--model", "undescribed", "--method", "m")

    assert isinstance(run(*base, "--out", tmp_path).exception, PermissionDenied)
    assert Servicer.asked is None
    assert "tabby" in run(*base).stdout


def test_maps_are_drawn_by_the_rule_of_the_version_that_is_asked(photo, address, tmp_path):
    explain(photo, address, "--out", tmp_path)
    assert Servicer.asked.version == "1"

    explain(photo, address)
    assert Servicer.asked.version == ""


def test_an_answer_whose_files_cannot_be_written_is_told_all_the_same(photo, address, tmp_path):
    (tmp_path / "score-cam.npy").mkdir()
    base = ("explain", photo, "--address", address, "--model", "lite0", "--method", "score-cam")

    table, told = command(*base, "--out", tmp_path), command(*base, "--out", tmp_path, "--json")

    assert "p 0.7500" in table.stdout
    assert "files in" not in table.stdout
    (entry,) = json.loads(told.stdout)["methods"]
    assert (entry["rows"], entry["map"], entry["overlay"]) == (100, None, None)
    for done in (table, told):
        assert done.returncode == 1
        assert done.stderr.startswith("salience: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_where_writing_fails_halfway_the_files_that_are_there_are_told(
    photo, address, tmp_path, as_json
):
    (tmp_path / "score-cam.b.png").mkdir()
    words = ("--target", "a", "--target", "b", "--target", "c", "--out", tmp_path)
    done = explain(photo, address, *words, *(["--json"] if as_json else []))

    assert isinstance(done.exception, IsADirectoryError)
    if as_json:
        entries = json.loads(done.stdout)["methods"]
        names = [("score-cam.a.npy", "score-cam.a.png"), ("score-cam.b.npy", None), (None, None)]
        assert [(entry["map"], entry["overlay"]) for entry in entries] == [
            tuple(name and str(tmp_path / name) for name in pair) for pair in names
        ]
    else:
        assert f"3 files in {tmp_path}" in done.stdout


def test_maps_are_drawn_over_the_bytes_that_were_explained(photo, address, tmp_path):
    """A pipe gives them once."""
    ours, theirs = os.pipe()
    os.write(theirs, photo.read_bytes())
    os.close(theirs)
    try:
        pipe, drawn = f"/dev/fd/{ours}", ("--out", tmp_path, "--montage", tmp_path / "all.png")
        done = explain(pipe, address, *drawn)
    finally:
        os.close(ours)

    assert done.exit_code == 0, done.output
    assert Servicer.asked.image.encoded == photo.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} >= {"score-cam.png", "all.png"}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_an_output_cannot_encode_is_escaped_and_json_is_none_of_it(photo, address, encoding):
    base = ("explain", photo, "--address", address, "--model", "lite0", "--method", "score-cam")
    words = (*base, "--scores", "insertion", "--target", "猫é")
    table, told = command(*words, encoding=encoding), command(*words, "--json", encoding=encoding)

    assert (table.returncode, table.stderr) == (0, "")
    assert r"Ins\u2212Del" in table.stdout
    assert r"\u732b" in table.stdout
    assert json.loads(told.stdout)["target"] == "猫é"


def test_several_targets_get_files_of_their_own(photo, address, tmp_path):
    done = explain(
        photo, address, "--target", "not:tabby", "--target", "../x", "--json", "--out", tmp_path
    )

    report = json.loads(done.stdout)
    assert report["target"] is None
    assert [target["name"] for target in report["targets"]] == ["not:tabby", "../x"]
    assert {path.name for path in tmp_path.glob("*.npy")} == {
        "score-cam.not-tabby.npy",
        "score-cam.x.npy",
    }


def test_everything_said_is_in_the_request(photo, address):
    explain(
        photo,
        address,
        *("--method", "poly-cam", "--option", "poly-cam.weights=plus", "--tap", "poly-cam=a,b"),
        *("--target", "top:3", "--fill", "black", "--score-fill", "blur:31,4", "--scores", "ag"),
        *("--gradient-side", "torch"),
        *("--model-version", "2", "--priority", "bulk"),
        *("--stop-at", "0.95", "--stop-after", "2.5"),
    )

    asked = Servicer.asked
    assert asked.image.encoded == photo.read_bytes()
    assert [method.name for method in asked.methods] == ["score-cam", "poly-cam"]
    assert asked.methods[1].options["weights"].text == "plus"
    assert asked.methods[1].taps == ["a", "b"]
    assert asked.targets[0].text == "top:3"
    assert asked.fill.HasField("black")
    assert asked.score_fill.blur.kernel == 31
    assert asked.version == "2"
    assert asked.no_partial_maps
    assert asked.priority == pb.PRIORITY_BULK
    assert (asked.stop_when.correlation, asked.stop_when.seconds) == (0.95, 2.5)
    assert asked.gradient_side == map_pb2.GRADIENT_SIDE_TORCH


def test_the_version_of_a_request_that_names_none_is_not_said_to_be_the_newest():
    assert "newest" not in run("explain", "--help").stdout


def test_a_dicom_file_is_known_by_its_mark(tmp_path, address):
    file = tmp_path / "chest"
    file.write_bytes(bytes(128) + b"DICM....")

    explain(file, address)

    assert Servicer.asked.image.WhichOneof("form") == "dicom"


def test_models_are_listed_and_described(address):
    listed = run("models", "--address", address).stdout
    described = run("models", "lite0", "--address", address).stdout

    assert "lite0" in listed
    assert fake.DIGEST[:12] in listed
    assert "input   3×4×6 rgb, resized by short-side" in described
    assert "not here: export it with torch" in described
    assert described.count("caution: its maps hardly change") == 1
    assert "gradients by torch" in described
    assert "integer 0 to 64" in described
    assert described.count("anytime: --stop-at and --stop-after may end it early") == 1
    assert f"numbers float16, tuned by {fake.DIGEST[:12]}" in described


def test_models_speak_json_too(address):
    listed = json.loads(run("models", "--address", address, "--json").stdout)
    described = json.loads(run("models", "lite0", "--address", address, "--json").stdout)

    assert listed["models"][0]["name"] == "lite0"
    assert described["methods"][0]["name"] == "score-cam"


def test_a_refused_request_is_one_line_on_stderr_and_exit_code_1(photo, address):
    done = command("explain", photo, "--address", address, "--model", "lost", "--method", "m")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "salience: no model 'lost' here\n"


def test_a_server_that_is_not_there_is_one_line_and_exit_code_1():
    done = command("models", "--address", "127.0.0.1:1", "--timeout", "2")

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("salience: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "no-such-file.png", "--model", "m", "--method", "m"],
        ["explain", __file__, "--model", "m"],
        ["explain", __file__, "--model", "m", "--method", "m", "--fill", "pink"],
        ["explain", __file__, "--model", "m", "--method", "m", "--scores", "auc"],
        ["explain", __file__, "--model", "m", "--method", "m", "--curves", "roar"],
        ["explain", __file__, "--model", "m", "--method", "m", "--box", "1"],
        ["explain", __file__, "--model", "m", "--method", "all,m"],
        ["explain", __file__, "--model", "m", "--method", "m", "--timeout", "-1"],
        ["explain", __file__, "--model", "m", "--method", "m", "--priority", "urgent"],
        ["explain", __file__, "--model", "m", "--method", "m", "--stop-at", "1"],
        ["explain", __file__, "--model", "m", "--method", "m", "--stop-after", "0"],
        ["explain", __file__, "--model", "m", "--method", "m", "--models", "no-such-directory"],
        ["models", "--address", "127.0.0.1:1", "--models", "."],
        ["paint"],
    ],
)
def test_wrong_usage_has_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2


def test_the_version_is_printed():
    from importlib.metadata import version

    assert run("--version").stdout == f"salience {version('salience')}\n"


def test_the_commands_are_named_without_loading_exporter_or_service():
    code = (
        "import sys; from salience_client.cli import main\n"
        "sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'salience_export', 'salience_service', 'torch', 'onnxruntime', 'PIL', 'cmap'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("explain", "models", "serve", "export"))


def test_without_the_cli_extra_the_command_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None\nfrom salience_client.cli import main\nmain()"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr == (
        "salience: the salience command needs typer: pip install 'salience[cli]'\n"
    )


def test_the_progress_line_tells_how_near_the_map_is_where_its_method_does():
    from rich.console import Console

    from salience_client import AnswerReader
    from salience_client.commands.progress import shown

    telling, reader = fake.partial_map(), AnswerReader()
    telling.partial_map.correlation = 0.875
    messages = [fake.started(), fake.prediction(), fake.progress(0, 40), telling]
    events = [event for message in messages for event in reader.read(message)]
    said = []
    for given in (events, events[:3]):
        console = Console(force_terminal=True, width=120, record=True, file=io.StringIO())
        list(shown(given, console))
        said.append("correlation ≈ 0.88" in console.file.getvalue())

    assert said == [True, False]
