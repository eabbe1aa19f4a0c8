"""Train both versions of the embedded `digits` model and export them as SavedModels.

    python model/train_digits.py [--output DIR]

Version 1 is a small dense network, version 2 a convolutional one. Every row of the data set whose
index is a multiple of HELD_OUT_EVERY is held out: it is never trained on, only measured. Seeds are
fixed and TensorFlow runs on one thread, so the same machine gives the same weights again.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

SEED = 8
HELD_OUT_EVERY = 5
BATCH_SIZE = 32
LEARNING_RATE = 0.002
BRIGHTEST = 16.0  # pixels count dark dots in a 4x4 block
IMAGE_INPUT = {"color": "gray", "resize": "box", "invert": True, "scale": BRIGHTEST / 255}  # dark on light paper
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WARM_UP_BATCHES = (1, 8)
GOLDEN_IMAGES = 4
GOLDEN_TOLERANCE = 1e-3  # processors round differently
IMAGE_SPEC = tf.TensorSpec([None, 8, 8], tf.float32, name="image")
CLASSES_SPEC = tf.TensorSpec([None], tf.int64)
EXAMPLES_SPEC = tf.TensorSpec([None], tf.string, name="inputs")

Images = NDArray[np.float32]  # [rows, 8, 8], values 0..16
Classes = NDArray[np.int64]  # [rows], values 0..9
Shape = tuple[int, ...]
Tensor = Any  # TensorFlow ships no types
Layer = tuple[Any, Any]  # kernel and bias, both tf.Variable


@dataclass(frozen=True)
class Rows:
    """Images and the class of each."""

    images: Images
    classes: Classes


@dataclass(frozen=True)
class Recipe:
    """How one version is built and trained.

    `logits` maps its layers and pixels, [rows, 8, 8] in 0..1, to [rows, 10].
    """

    kernels: tuple[Shape, ...]
    logits: Callable[[list[Layer], Tensor], Tensor]
    epochs: int
    shifted: bool


def dense_logits(layers: list[Layer], pixels: Tensor) -> Tensor:
    """Flatten, one hidden layer, ten logits."""
    (kernel, bias), last = layers
    hidden = tf.nn.relu(tf.reshape(pixels, [-1, 64]) @ kernel + bias)
    return hidden @ last[0] + last[1]


def conv_logits(layers: list[Layer], pixels: Tensor) -> Tensor:
    """Two 3x3 convolutions, a 2x2 pooling, then two dense layers down to ten logits."""
    *convolutions, (kernel, bias), last = layers
    maps = pixels[..., tf.newaxis]
    for filters, offset in convolutions:
        maps = tf.nn.relu(tf.nn.conv2d(maps, filters, strides=1, padding="SAME") + offset)
    pooled = tf.nn.max_pool2d(maps, ksize=2, strides=2, padding="VALID")
    hidden = tf.nn.relu(tf.reshape(pooled, [-1, kernel.shape[0]]) @ kernel + bias)
    return hidden @ last[0] + last[1]


RECIPES = {
    1: Recipe(((64, 16), (16, 10)), dense_logits, epochs=20, shifted=False),
    2: Recipe(
        ((3, 3, 1, 16), (3, 3, 16, 32), (4 * 4 * 32, 64), (64, 10)),
        conv_logits,
        epochs=15,
        shifted=True,
    ),
}


def read_rows() -> tuple[Rows, Rows]:
    """Return the rows to train on and the rows held out."""
    digits = load_digits()
    images, classes = digits.images.astype(np.float32), digits.target.astype(np.int64)
    held_out = np.arange(len(classes)) % HELD_OUT_EVERY == 0
    return Rows(images[~held_out], classes[~held_out]), Rows(images[held_out], classes[held_out])


def with_shifts(rows: Rows) -> Rows:
    """Add four copies of every image, moved one pixel left, right, up and down."""
    padded = np.pad(rows.images, ((0, 0), (1, 1), (1, 1)))
    corners = ((1, 1), (1, 2), (1, 0), (2, 1), (0, 1))
    moved = [padded[:, top : top + 8, left : left + 8] for top, left in corners]
    return Rows(np.concatenate(moved), np.tile(rows.classes, len(corners)))


def new_layers(kernels: tuple[Shape, ...], random: np.random.Generator) -> list[Layer]:
    """Return variables for the kernels (He normal) and their biases (zero)."""
    layers = []
    for shape in kernels:
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        layers.append((tf.Variable(kernel, dtype=tf.float32), tf.Variable(tf.zeros(shape[-1]))))
    return layers


def shuffled_batches(rows: Rows, epochs: int, random: np.random.Generator) -> Iterator[Rows]:
    """Yield every row once an epoch, in a new order each time."""
    for _ in range(epochs):
        order = random.permutation(len(rows.classes))
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            yield Rows(rows.images[chosen], rows.classes[chosen])


def training_step(recipe: Recipe, layers: list[Layer], steps: int) -> Callable[..., None]:
    """Return a function that moves the layers against the gradient of one batch's cross entropy.

    The optimizer is Adam, its rate decays along a cosine to nothing over the steps.
    """
    variables = [variable for layer in layers for variable in layer]
    decay = tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    optimizer = tf.keras.optimizers.Adam(decay)
    optimizer.build(variables)

    def step(images: Tensor, classes: Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = recipe.logits(layers, images / BRIGHTEST)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    compiled: Callable[..., None] = tf.function(step, input_signature=[IMAGE_SPEC, CLASSES_SPEC])
    return compiled


def train(recipe: Recipe, rows: Rows) -> list[Layer]:
    """Return the layers of the recipe, trained on the rows."""
    random = np.random.default_rng(SEED)
    rows = with_shifts(rows) if recipe.shifted else rows
    layers = new_layers(recipe.kernels, random)
    batches = list(shuffled_batches(rows, recipe.epochs, random))
    step = training_step(recipe, layers, len(batches))
    for batch in batches:
        step(batch.images, batch.classes)
    return layers


def label_table(labels_file: str) -> Any:
    """Return a lookup table from a class to the word on that line of the file."""
    initializer = tf.lookup.TextFileInitializer(
        labels_file,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
    )
    return tf.lookup.StaticHashTable(initializer, default_value="")


def servable(recipe: Recipe, layers: list[Layer], labels_file: str) -> Any:
    """Return a module with the functions `predict` and `classify`, scaling included."""
    module = tf.Module()
    module.layers = layers
    module.table = label_table(labels_file)

    def probabilities(image: Tensor) -> Tensor:
        return tf.nn.softmax(recipe.logits(layers, image / BRIGHTEST))

    def predict(image: Tensor) -> dict[str, Tensor]:
        likely = probabilities(image)
        return {"probabilities": likely, "label": module.table.lookup(tf.argmax(likely, axis=1))}

    def classify(inputs: Tensor) -> dict[str, Tensor]:
        feature = tf.io.FixedLenFeature([8, 8], tf.float32)
        scores = probabilities(tf.io.parse_example(inputs, {"image": feature})["image"])
        every_class = tf.range(len(LABELS), dtype=tf.int64)
        classes = module.table.lookup(tf.broadcast_to(every_class, tf.shape(scores, tf.int64)))
        return {"classes": classes, "scores": scores}

    module.predict = tf.function(predict, input_signature=[IMAGE_SPEC])
    module.classify = tf.function(classify, input_signature=[EXAMPLES_SPEC])
    return module


def export(recipe: Recipe, layers: list[Layer], target: Path) -> None:
    """Write the SavedModel, with the labels as an asset."""
    # The file's path becomes part of the table's name in the graph, so it is a relative one.
    with TemporaryDirectory() as folder, chdir(folder):
        Path("labels.txt").write_text("\n".join(LABELS) + "\n")
        module = servable(recipe, layers, "labels.txt")
        tf.saved_model.save(
            module,
            str(target),
            signatures={"serving_default": module.predict, "classify": module.classify},
            options=tf.saved_model.SaveOptions(save_debug_info=False),
        )


def warm_up_record(images: Images) -> bytes:
    """Return a predict request for these images as a serialized PredictionLog."""
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "digits"
    request.model_spec.signature_name = "serving_default"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
    return bytes(log.SerializeToString(deterministic=True))


def write_warm_up(images: Images, version: Path) -> None:
    """Write the requests that a server replays before it calls the version available."""
    target = version / "assets.extra" / "tf_serving_warmup_requests"
    target.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(target)) as writer:
        for size in WARM_UP_BATCHES:
            writer.write(warm_up_record(images[:size]))


def write_golden(images: Images, version: Path) -> None:
    """Write a request and its answer, which a server must get again before it calls the version available."""
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    outputs = signature(image=tf.constant(images))
    labels = [label.decode() for label in outputs["label"].numpy()]
    # To six places, since that is closer than the tolerance and easier to read.
    probabilities = outputs["probabilities"].numpy().astype(float).round(6).tolist()
    document = {
        "request": {"instances": images.astype(int).tolist()},
        "response": {
            "predictions": [
                {"label": label, "probabilities": row} for label, row in zip(labels, probabilities, strict=True)
            ]
        },
        "tolerance": GOLDEN_TOLERANCE,
    }
    target = version / "golden" / "held_out.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document) + "\n")


def write_image_input(version: Path) -> None:
    """Write how a picture of a digit becomes the input."""
    (version / "image_input.json").write_text(json.dumps(IMAGE_INPUT, indent=2) + "\n")


def accuracy(version: Path, rows: Rows) -> float:
    """Return the share of rows that the exported version labels correctly."""
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    labels = signature(image=tf.constant(rows.images))["label"].numpy()
    return float(np.mean(labels == np.array(LABELS, dtype=bytes)[rows.classes]))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train and export the digits model.")
    default = Path(__file__).parent / "digits"
    parser.add_argument("--output", type=Path, default=default, help="where to write 1/ and 2/")
    return parser.parse_args()


def main() -> None:
    """Train, export and measure every version."""
    output = parse_arguments().output.resolve()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    training, held_out = read_rows()
    for number, recipe in RECIPES.items():
        version = output / str(number)
        export(recipe, train(recipe, training), version)
        write_warm_up(held_out.images, version)
        write_golden(held_out.images[:GOLDEN_IMAGES], version)
        write_image_input(version)
        print(f"version {number}: held-out accuracy {accuracy(version, held_out):.4f}")


if __name__ == "__main__":
    main()
