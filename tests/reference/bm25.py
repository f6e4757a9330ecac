"""Golden BM25 scores: PyPI's rank-bm25 (BM25Okapi, its defaults) on synthetic sentences.

    python tests/reference/bm25.py > tests/reference/bm25.json      (rank-bm25 0.2.2)

A word is a run of letters and digits in lower case. Some words are in most of the sentences, so that the floor of the idf counts.
"""
import json
import random
import re
import sys
from importlib.metadata import version

from rank_bm25 import BM25Okapi

WORDS = """the liver is of normal size cyst in segment IV stone 12 mm left right kidney gallbladder wall thickened no free fluid
spleen enlarged pancreas unremarkable hypodense lesion Œdema fatty bowel loops aorta calcified""".split()
random.seed(7)
sentence = lambda n: " ".join(["The"] + [random.choice(WORDS) for _ in range(n)]).capitalize() + "."
texts = [" ".join(sentence(random.randint(3, 12)) for _ in range(random.randint(1, 4))) for _ in range(60)]
questions = [sentence(random.randint(4, 20)) for _ in range(8)] + ["Liver liver LIVER cyst.", "unheard of words"]
words = lambda text: re.findall(r"[^\W_]+", text.lower())
index = BM25Okapi([words(text) for text in texts])
scores = [[round(float(s), 9) for s in index.get_scores(words(q))] for q in questions]
json.dump({"rank-bm25": version("rank-bm25"), "texts": texts, "questions": questions, "scores": scores}, sys.stdout,
          separators=(",", ":"), ensure_ascii=False)
print()
