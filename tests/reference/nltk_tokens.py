#!/usr/bin/env python3
"""Golden values of src/task/decisions/{tokens,punkt,official}.rs and src/metric/difflib.rs, made with NLTK, scikit-learn and Python's difflib.

    pip install nltk==3.10.4 scikit-learn==1.9.1
    dxlab models fetch punkt
    python tests/reference/nltk_tokens.py

A hundred random synthetic notes (words and marks drawn at random, nothing of any patient) with random spans. Punkt is trained on two hundred
more of them, as its English parameters are data of NLTK and stay out of this repository: what they give is kept (`english`). Writes
nltk_tokens.json and punkt_tab/english/ beside this file.
"""
import difflib
import json
import pathlib
import random

import nltk.data
from nltk.data import FileSystemPathPointer
from nltk.tokenize import NLTKWordTokenizer, TreebankWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer, load_punkt_params
from sklearn.metrics import f1_score

HERE = pathlib.Path(__file__).parent
ENGLISH = HERE.parents[1] / ".tools" / "knowledge" / "punkt_tab" / "english"
WORDS = """Admission Discharge patient is an 81 yo F with COPD (FEV1 0.9L), was admitted for "worsening" dyspnea can't lie flat CXR
showed RLL pneumonia; started levofloxacin 500 mg q.d. b.i.d. p.r.n. and prednisone. Continue warfarin -- goal INR 2-3. Dr. Mrs. St. J. K.
[**2118-6-2**] [**Last Name (STitle) **] [**Hospital1 18**] follow-up in 2 weeks. WBC 12.4, K+ 3.1. Hold aspirin? Return if fever > 101
chest pain... I'll they're won't don't cannot gonna wanna 'tis patient's 'quoted' ''double'' ``ticks`` “curly” ‘single’ «guillemets»
e.g. i.e. vs. approx. No. The He She It and or 5% #1 a/b/c x3 100,000 3.5-4.0 Stop!! What?! (Stable.) "Home." [sic] {x} <b> & @ $5 café
naïve µg ≥ ± 肺炎 – — … .. .... . . . 1. 2. 3) a.m. P.M. U.S. M.D. Ph.D. post-op. non-St. d'ye more'n Gimme lemme gotta :: ,, ;; :) '' ' " ` * ** ½ Ⅳ
٣ ſ İ x\u0301 \u00a0 \u2003 \u2028 \u200d \u001c \u0085""".split(" ")
SPACES = [" "] * 16 + ["\n", "\n\n", "  ", "\t", "\r\n", ""]


def note(rng, length):
    parts = []
    for _ in range(length):
        word = rng.choice(WORDS)
        parts += [word.replace("\n", " "), rng.choice(SPACES)]
        if rng.random() < 0.15:
            parts.append(rng.choice(".,:;!?\"')]}-"))
            parts.append(rng.choice(["", " ", "\n"]))
    return "".join(parts)


def refine(text, start, end):
    """The rule of MedDec's `refine_span`, from its description."""
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
        end += 1
    part = text[start:end]
    if not part.strip():
        return None
    words = list(TreebankWordTokenizer().span_tokenize(part))
    word = lambda i: part[words[i][0] : words[i][1]]
    good = lambda i: any(c.isalnum() for c in word(i)) or "**" in word(i)
    while words and not (good(0) or (word(0) == "[" and len(words) > 1 and "**" in word(1))):
        words.pop(0)
    while words and not (good(-1) or (word(-1) == "]" and len(words) > 1 and "**" in word(-2))):
        words.pop()
    return (start + words[0][0], start + words[-1][1]) if words else None


def trained(rng):
    """Punkt's parameters, learnt from synthetic text."""
    trainer = PunktTrainer()
    trainer.INCLUDE_ALL_COLLOCS = True
    trainer.train("\n".join(note(rng, 200) for _ in range(200)))
    params = trainer.get_params()
    folder = HERE / "punkt_tab" / "english"
    folder.mkdir(parents=True, exist_ok=True)
    # as NLTK's tables: no word holds a tab or a line end
    plain = lambda word: not any(c in word for c in "\t\n\r\u001c\u0085\u2028")
    params.abbrev_types = {w for w in params.abbrev_types if plain(w)}
    params.sent_starters = {w for w in params.sent_starters if plain(w)}
    params.collocations = {(a, b) for a, b in params.collocations if plain(a) and plain(b)}
    for word in [w for w in params.ortho_context if not plain(w)]:
        del params.ortho_context[word]
    params.sent_starters |= {"continue", "he", "return", "she"}  # too rare here to be learnt, and the rule is to be tested
    write = lambda name, lines: (folder / name).write_text("\n".join(sorted(lines)), encoding="utf-8", newline="")
    write("abbrev_types.txt", params.abbrev_types)
    write("sent_starters.txt", params.sent_starters)
    write("collocations.tab", (f"{a}\t{b}" for a, b in params.collocations))
    write("ortho_context.tab", (f"{word}\t{bits}" for word, bits in params.ortho_context.items()))
    return PunktSentenceTokenizer(params)


def golden(rng, punkt):
    text = note(rng, rng.randint(1, 70))
    try:
        treebank = list(TreebankWordTokenizer().span_tokenize(text))
        spans = [tuple(sorted((rng.randrange(len(text)), rng.randrange(len(text))))) for _ in range(12)]
        refined = [(start, end, refine(text, start, end)) for start, end in spans if start < end]
    except (ValueError, RuntimeError):  # NLTK itself cannot place a quote
        return None
    sentences = list(punkt.span_tokenize(text))
    words = [word for start, end in sentences for word in NLTKWordTokenizer().tokenize(text[start:end])]
    return {"text": text, "treebank": treebank, "sentences": sentences, "nltk": words, "refined": refined}


def random_spans(rng, text):
    """Gold spans, and predicted ones: some the same, some moved, some of another category, some invented."""
    any_span = lambda: sorted((rng.randrange(len(text)), rng.randrange(len(text)))) + [rng.randint(1, 9)]
    gold = [span for span in (any_span() for _ in range(rng.randint(0, 6))) if span[0] < span[1]]
    predicted = []
    for start, end, category in gold:
        move = lambda at: min(len(text), max(0, at + rng.randint(-9, 9)))
        other = rng.choice([[start, end, category], [move(start), move(end), category], [start, end, rng.randint(1, 9)], None])
        predicted += [other] if other and other[0] < other[1] else []
    return gold, predicted + [span for span in (any_span() for _ in range(rng.randint(0, 2))) if span[0] < span[1]]


def token_f1(text, sentences, gold, predicted):
    """Token F1 of MedDec's scorer, from its description: the mean F1 of the labels (but none) that gold or prediction has."""
    places, start = [], 0
    for first, last in sentences:
        for word in NLTKWordTokenizer().tokenize(text[first:last]):
            at = text.find(word, start)
            if at >= 0:
                start = at + len(word)
                places.append((at, start))
    label = lambda spans, a, b: next((category for s, e, category in spans if a < e and b > s), 0)
    true, said = ([label(spans, a, b) for a, b in places] for spans in (gold, predicted))
    labels = sorted({*true, *said} - {0})
    return float(f1_score(true, said, labels=labels, average="macro", zero_division=0)) if labels else 1.0


def edited(rng, text, share):
    return " ".join(word for word in text.split(" ") if rng.random() > share)


def main():
    rng = random.Random(19)
    punkt = trained(rng)
    notes = []
    while len(notes) < 100:
        one = golden(rng, punkt)
        notes += [one] if one else []
    nltk.data.path.append(str(ENGLISH.parents[1]))  # NLTK reads nothing from elsewhere
    english, rng_spans = PunktSentenceTokenizer(load_punkt_params(FileSystemPathPointer(str(ENGLISH)))), random.Random(191)
    for one in notes:
        text = one["text"]
        gold, predicted = random_spans(rng_spans, text)
        sentences = list(english.span_tokenize(text))
        score = lambda sentences: token_f1(text, sentences, gold, predicted)
        one |= {"gold": gold, "predicted": predicted, "token_f1": score(one["sentences"])}
        one["english"] = {"sentences": sentences, "token_f1": score(sentences)}
    pairs = [("", ""), ("a", ""), ("abc", "abd"), ("abcd" * 60, "abcd" * 50), ("Seen by Dr. [**Last Name**].", "Seen by Dr [**Last Name**].")]
    for length in (3, 10, 30, 60, 120):
        text = note(rng, length)
        pairs += [(text, edited(rng, text, share)) for share in (0.0, 0.05, 0.3)] + [(text, note(rng, length))]
    ratio = lambda a, b, junk: difflib.SequenceMatcher(None, a, b, autojunk=junk).ratio()
    table = [(a, b, ratio(a, b, False), ratio(a, b, True)) for a, b in pairs]
    out = {"notes": notes, "difflib": table}
    (HERE / "nltk_tokens.json").write_text(json.dumps(out, ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")


main()
