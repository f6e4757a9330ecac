"""Golden decision values of TF-IDF with one-vs-rest logistic regression: scikit-learn on synthetic findings.

    python tests/reference/tfidf.py > tests/reference/tfidf.json      (scikit-learn 1.9)

Texts are random words around cue phrases of six labels (seed 7); everything is synthetic.
"""
import json
import sys

import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

CUES = {
    "renal cyst": ["cyst in the left kidney", "Renal cyst, 12 mm", "simple cyst of the kidney"],
    "kidney stone": ["stone in the right kidney", "calculus in the renal pelvis"],
    "gallstone": ["stone in the gallbladder", "calculi within the gall-bladder"],
    "fatty liver": ["diffuse low attenuation of the liver", "steatosis of the liver"],
    "liver cyst": ["cyst in segment IV of the liver"],
    "hydronephrosis": ["dilated left renal pelvis and ureter", "hydronephrosis"],
}
FILLER = "the spleen is normal in size no free fluid adrenal glands unremarkable bowel loops of normal calibre".split()

rng = np.random.default_rng(7)
cases = []
for i in range(120):
    labels = rng.choice(list(CUES), size=rng.integers(1, 4), replace=False).tolist()
    parts = [str(rng.choice(CUES[label])) for label in labels]
    parts += [" ".join(rng.choice(FILLER, size=rng.integers(3, 9)).tolist()) for _ in range(3)]
    rng.shuffle(parts)
    cases.append({"text": ". ".join(parts) + ".", "labels": sorted(labels)})

train, test = cases[:90], cases[90:]
tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
x, z = tfidf.fit_transform([c["text"] for c in train]), tfidf.transform([c["text"] for c in test])
golden = {}
for strength in [1.0, 10.0]:
    golden[str(strength)] = {}
    for label in sorted(CUES):
        y = [label in c["labels"] for c in train]
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=10000).fit(x, y)
        golden[str(strength)][label] = [round(v, 6) for v in model.decision_function(z).tolist()]
json.dump({"scikit-learn": sklearn.__version__, "terms": len(tfidf.vocabulary_), "train": train, "test": test, "decision": golden},
          sys.stdout, separators=(",", ":"))
print()
