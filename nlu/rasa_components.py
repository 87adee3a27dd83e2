"""The engine's own parts: sentence vectors, an intent head, and places.

Rasa wires graph components by parameter name and reads their annotations when it loads them: this file has
no postponed annotations, and the parameter of `process_training_data` must be called `training_data`.
Runs in the engine's environment only (Python 3.10).
"""

import base64
import binascii
import csv
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Type

import numpy as np
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.classifier import IntentClassifier
from rasa.nlu.extractors.extractor import EntityExtractorMixin
from rasa.nlu.featurizers.dense_featurizer.dense_featurizer import DenseFeaturizer
from rasa.shared.nlu.constants import ENTITIES, FEATURE_TYPE_SENTENCE, INTENT, TEXT
from rasa.shared.nlu.training_data.features import Features
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData

from nlu.encoder import DIMENSIONS, E5Encoder
from nlu.intent_head import SMOOTHING, WIDTH, Head, fit_head
from nlu.normalise import fold

RANKED = 5  # intents shown with their confidence


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=False)
class E5Featurizer(DenseFeaturizer, GraphComponent):
    """Sentence vector of a message: the gateway's, if it sent one along, else encoded here."""

    @classmethod
    def create(
        cls,
        config: Dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "E5Featurizer":
        """As Rasa asks for it."""
        return cls(execution_context.node_name, config)

    @staticmethod
    def get_default_config() -> Dict[str, Any]:
        """No settings beyond Rasa's own."""
        return {**DenseFeaturizer.get_default_config()}

    @classmethod
    def validate_config(cls, config: Dict[str, Any]) -> None:
        """Nothing to set wrongly."""

    def process(self, messages: List[Message]) -> List[Message]:
        """Adds the vector to every message."""
        for message in messages:
            vector = handed_over(message)
            self._add(message, encode([message.get(TEXT) or ""])[0] if vector is None else vector)
        return messages

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        """Adds the vectors to the training examples."""
        examples = [example for example in training_data.training_examples if example.get(TEXT)]
        for example, vector in zip(examples, encode([example.get(TEXT) for example in examples]), strict=True):
            self._add(example, vector)
        return training_data

    def _add(self, message: Message, vector: np.ndarray) -> None:
        feature = Features(vector.reshape(1, -1), FEATURE_TYPE_SENTENCE, TEXT, self._identifier)
        message.add_features(feature)


def encode(texts: List[str]) -> np.ndarray:
    """Vectors from the process's one encoder."""
    return E5Encoder().encode(texts)


def handed_over(message: Message) -> Optional[np.ndarray]:
    """The vector that the gateway sent in the metadata; None if it sent none, or not a sound one."""
    sent = (message.get("metadata") or {}).get("vector")
    if not isinstance(sent, str):
        return None
    try:
        vector = np.frombuffer(base64.b64decode(sent, validate=True), dtype="<f4")
    except (binascii.Error, ValueError):
        return None
    return vector if vector.shape == (DIMENSIONS,) and np.isfinite(vector).all() else None


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.INTENT_CLASSIFIER, is_trainable=True)
class IntentHead(IntentClassifier, GraphComponent):
    """Intents from sentence vectors, in a second of training and without TensorFlow or pickle.

    In cross-validation it beat logistic regression, of which Rasa's own does not let the regularisation be set.
    """

    @classmethod
    def required_components(cls) -> List[Type]:
        """It needs a vector."""
        return [E5Featurizer]

    @staticmethod
    def get_default_config() -> Dict[str, Any]:
        """Found by cross-validation; `sharpness` turns scores into confidences that are about right."""
        return {"width": WIDTH, "smoothing": SMOOTHING, "sharpness": 12.0}

    @classmethod
    def create(
        cls,
        config: Dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "IntentHead":
        """An untrained head."""
        return cls(config, model_storage, resource)

    @classmethod
    def load(
        cls,
        config: Dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
        **kwargs: Any,
    ) -> "IntentHead":
        """A trained head."""
        with model_storage.read_from(resource) as folder:
            return cls(config, model_storage, resource, Head.read(folder / "head.npz"))

    def __init__(
        self, config: Dict[str, Any], model_storage: ModelStorage, resource: Resource, head: Optional[Head] = None
    ) -> None:
        """Keeps where it is stored."""
        self.config, self.model_storage, self.resource, self.head = config, model_storage, resource, head

    def train(self, training_data: TrainingData) -> Resource:
        """Fits the head and stores it."""
        examples = [example for example in training_data.intent_examples if example.get(TEXT)]
        vectors = np.vstack([vector_of(example) for example in examples])
        intents = [example.get(INTENT) for example in examples]
        head = fit_head(vectors, intents, width=self.config["width"], smoothing=self.config["smoothing"])
        with self.model_storage.write_to(self.resource) as folder:
            head.save(folder / "head.npz")
        return self.resource

    def process(self, messages: List[Message]) -> List[Message]:
        """Adds the intent and the ranking."""
        for message in messages:
            ranking = self._rank(vector_of(message))
            message.set(INTENT, ranking[0], add_to_output=True)
            message.set("intent_ranking", ranking[:RANKED], add_to_output=True)
        return messages

    def _rank(self, vector: np.ndarray) -> List[Dict[str, Any]]:
        assert self.head is not None, "Rasa calls `process` on a loaded head only"
        scores = self.config["sharpness"] * self.head.scores(vector, width=self.config["width"])
        odds = np.exp(scores - scores.max())
        shares = odds / odds.sum()
        return [{"name": self.head.labels[i], "confidence": float(shares[i])} for i in np.argsort(-shares)]


def vector_of(message: Message) -> np.ndarray:
    """The sentence vector that the featurizer added."""
    _, sentence = message.get_dense_features(TEXT)
    return sentence.features[0]


PLACES = Path(__file__).parent / "data" / "places.csv"
# Canada Post's: letter, digit, letter. Its first half alone counts in capitals only, because people write "g2g", "l8r",
# and in Arabic "n3m" (yes) and "m3a" (with).
POSTAL_CODE = re.compile(
    r"(?<![A-Za-z0-9])(?:(?P<whole>(?i:[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z]))[ -]{0,2}(?i:\d[ABCEGHJ-NPRSTV-Z]\d)"
    r"|(?P<half>[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z]))(?![A-Za-z0-9])",
    re.ASCII,
)
POSTAL_PREFIX = re.compile(r"[a-z](\d[a-z]?)?")  # as the list has them: a district, a city, a province
UNSPACED = re.compile(r"[\u3400-\u9fff\uac00-\ud7a3\u1100-\u11ff]")  # Chinese, Korean
WORD = re.compile(r"[^\W\d_]+")
RAW_PLACE = 80  # characters of an unrecognised place that are handed on
INFORM_PLACE = "inform_place"
OUT_OF_SCOPE = "out_of_scope"
SURE = 0.6  # above this, an intent stands although a message is little more than a place


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.ENTITY_EXTRACTOR, is_trainable=False)
class PlaceFinder(GraphComponent, EntityExtractorMixin):
    """Finds a Canadian place in a message, in any of the scripts; stands after the intent head.

    It also hands the gateway's metadata to the slots: a place that is known already, and what was asked last.
    """

    @classmethod
    def create(
        cls,
        config: Dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "PlaceFinder":
        """Reads the list of places."""
        return cls(read_places(PLACES))

    def __init__(self, places: Dict[str, str]) -> None:
        """Folded names and postal prefixes to canonical places."""
        self.places = places
        self.pattern = name_pattern([name for name in places if not POSTAL_PREFIX.fullmatch(name)])

    def process(self, messages: List[Message]) -> List[Message]:
        """Adds the entities `place` and `asked`."""
        for message in messages:
            self._process(message)
        return messages

    def _process(self, message: Message) -> None:
        text, metadata = message.get(TEXT) or "", message.get("metadata") or {}
        place, rest = self.find(text)
        if place and is_little_more(rest, message):
            set_intent(message, INFORM_PLACE)
        if not place and (message.get(INTENT) or {}).get("name") == INFORM_PLACE:
            place = " ".join(text.split())[:RAW_PLACE]
        place = place or as_text(metadata.get("place"))
        asked = as_text(metadata.get("asked")) or "nothing"
        found = {"place": place, "asked": asked}
        entities = [{"entity": name, "value": value, "start": 0, "end": 0} for name, value in found.items() if value]
        message.set(ENTITIES, message.get(ENTITIES, []) + self.add_extractor_name(entities), add_to_output=True)

    def find(self, text: str) -> Tuple[Optional[str], str]:
        """The canonical place that a text names, and what is left of the text without it."""
        folded = fold(text)
        named = self.pattern.search(folded)
        if named:
            return self.places[named.group()], folded[: named.start()] + " " + folded[named.end() :]
        coded = POSTAL_CODE.search(text)
        if coded:
            rest = text[: coded.start()] + " " + text[coded.end() :]
            return self._of_code((coded["whole"] or coded["half"]).lower()), rest
        return None, folded

    def _of_code(self, prefix: str) -> str:
        known = (self.places[key] for key in (prefix, prefix[:2], prefix[:1]) if key in self.places)
        return next(known, prefix.upper())


def read_places(path: Path) -> Dict[str, str]:
    """Folded name or postal prefix → canonical place."""
    with path.open(encoding="utf-8", newline="") as file:
        return {fold(row["name"]): row["city"] for row in csv.DictReader(file)}


def name_pattern(names: List[str]) -> "re.Pattern[str]":
    """Any of the names, the longest first; as whole words where a script puts spaces between words."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(re.escape(n) if UNSPACED.search(n) else whole_word(n) for n in longest_first))


def whole_word(name: str) -> str:
    """Indic vowel signs belong to the word too, although they are no letters to `re`."""
    return rf"(?<![\w\u0900-\u0dff]){re.escape(name)}(?![\w\u0900-\u0dff])"


def is_little_more(rest: str, message: Message) -> bool:
    """Whether a message names a place and says hardly anything else: "5 rue Sherbrooke, Laval"."""
    words, intent = len(WORD.findall(rest)), message.get(INTENT) or {}
    doubtful = intent.get("confidence", 0.0) < SURE and intent.get("name") != OUT_OF_SCOPE
    return words == 0 or (words <= 3 and doubtful)


def set_intent(message: Message, name: str) -> None:
    """The intent, without a doubt."""
    intent = {"name": name, "confidence": 1.0}
    message.set(INTENT, intent, add_to_output=True)
    message.set("intent_ranking", [intent], add_to_output=True)


def as_text(value: Any) -> Optional[str]:
    """A metadata value that is a text, cut to what a place may be."""
    return value.strip()[:RAW_PLACE] or None if isinstance(value, str) else None
