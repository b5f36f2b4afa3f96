"""The little language of the demo model: tokens, questions, training rows, question set.

Everything here needs numpy only.  A question is plain text, its answer is one token:

    calc    3-2+6+9*3=                       left to right, only the last digit is kept
    reset   9-7-2-3-9+6-4*9+7+5*0-5=         the same, always twelve operations; *0 wipes the past
    kin     eve's rival's friend's boss?     facts the model has learnt by heart
    chain   cat>dan,dan>ned,ned>cat,dan>>?   the facts stand in the prompt; one look-up per ">"
"""

import zlib

import numpy as np

NAMES = "ann bob cat dan eve fay gus hal ida jim kim leo mia ned ola pia".split()
RELATIONS = "boss friend rival cousin".split()
FAMILIES = "calc kin chain reset".split()
CALC, KIN, CHAIN, RESET = range(4)

# One token per operation, relation and table entry keeps a question of sixteen steps at eighteen
# tokens, and puts the whole difficulty of a step into one position.
GRAMMAR = ([str(d) for d in range(10)]
           + [op + str(d) for op in "+-*" for d in range(10)]
           + ["="] + NAMES + ["'s " + r for r in RELATIONS] + ["?"]
           + [">" + name + "," for name in NAMES] + [">"])
SPECIALS = ["<|begin_text|>", "<|end_text|>", "<|begin_header|>", "<|end_header|>",
            "<|end_turn|>", "<|pad|>"]

# Ids in the published files: the 256 bytes, then the grammar, then the special tokens.
BYTES = 256
VOCAB = BYTES + len(GRAMMAR) + len(SPECIALS)
TOKEN_ID = {text: BYTES + i for i, text in enumerate(GRAMMAR + SPECIALS)}
BEGIN, END, PAD = (TOKEN_ID[s] for s in ("<|begin_text|>", "<|end_text|>", "<|pad|>"))

# Training uses a short vocabulary: the grammar, the end token, the begin token, and one row that stands
# for every id the model never meets.  That row is copied to all of them when the files are written.
SHORT = GRAMMAR + ["<|end_text|>", "<|begin_text|>"]
SHORT_ID = {text: i for i, text in enumerate(SHORT)}
SHORT_END, SHORT_BEGIN, SHORT_OTHER = len(GRAMMAR), len(GRAMMAR) + 1, len(GRAMMAR) + 2
SHORT_VOCAB = len(SHORT) + 1
OTHERS = VOCAB - len(SHORT)

DIGIT = [SHORT_ID[str(d)] for d in range(10)]
OPERATION = {(op, d): SHORT_ID[op + str(d)] for op in "+-*" for d in range(10)}
EQUALS, ASK, HOP = SHORT_ID["="], SHORT_ID["?"], SHORT_ID[">"]
NAME = [SHORT_ID[name] for name in NAMES]
RELATION = [SHORT_ID["'s " + r] for r in RELATIONS]
ENTRY = [SHORT_ID[">" + name + ","] for name in NAMES]

ALL_OPERATIONS = [(op, d) for op in "+-*" for d in range(10)]
# These keep all ten values apart, so that no operation of a test question can be skipped.
FAITHFUL = [(op, d) for op in "+-" for d in range(1, 10)] + [("*", 3), ("*", 7), ("*", 9)]
RESET_LENGTH = 12

# One prompt in sixteen is never trained on; the shipped questions are drawn from these.
HELD_OUT_CLASSES = 16

# Lowest and highest number of steps k per level.  A level is meant to need about the same number of
# recurrent steps in every family: k-2 for calc, kin and reset, 2(k-1) for chain.
LEVELS = {
    1: {CALC: (1, 2), KIN: (1, 2), CHAIN: (1, 1), RESET: (0, 1)},
    2: {CALC: (3, 3), KIN: (3, 3), CHAIN: (2, 2), RESET: (2, 3)},
    3: {CALC: (4, 5), KIN: (4, 5), CHAIN: (3, 3), RESET: (4, 5)},
    4: {CALC: (6, 8), KIN: (6, 8), CHAIN: (4, 5), RESET: (6, 8)},
    5: {CALC: (9, 11), KIN: (9, 11), CHAIN: (6, 6), RESET: (9, 10)},
    6: {CALC: (12, 14), KIN: (12, 14), CHAIN: (7, 7), RESET: (11, 11)},
}
QUESTION_TABLE = 8
# Questions per level.  Fewer of reset: they show difficulty at constant length, but the part they wipe out has to
# come to rest too before a test over the whole prompt stops.
QUESTIONS = {CALC: 30, KIN: 30, CHAIN: 25, RESET: 15}


def held_out(prompt):
    return zlib.crc32(prompt.encode()) % HELD_OUT_CLASSES == 0


def text_of(short_ids):
    return "".join(SHORT[i] for i in short_ids)


def apply_operation(value, op, digit):
    if op == "+":
        return (value + digit) % 10
    if op == "-":
        return (value - digit) % 10
    return value * digit % 10


class Question:
    """Tokens of a prompt, with the wanted value and its depth at every token that is asked about."""

    __slots__ = ("family", "tokens", "values", "depths", "answer", "prefix")

    def __init__(self, family, first, prefix=()):
        # The first token is asked about too, and its value is the token itself: so the values at depth 0 and
        # at all other depths are kept in one form, and what is learnt for one operation holds for the next.
        self.family = family
        self.tokens = [first]
        self.values = [first]
        self.depths = [0]
        self.answer = -1
        self.prefix = list(prefix)

    def add(self, token, value, depth):
        self.tokens.append(token)
        self.values.append(value)
        self.depths.append(depth)
        self.answer = value

    def prompt(self):
        return text_of(self.prefix + self.tokens)


def make_facts(seed):
    """One permutation of the people per relation, in which nobody is related to himself."""
    rng = np.random.default_rng([seed, 1])
    facts = []
    while len(facts) < len(RELATIONS):
        permutation = rng.permutation(len(NAMES))
        if not (permutation == np.arange(len(NAMES))).any():
            facts.append(permutation)
    return np.stack(facts)


def calc_question(rng, operations, family=CALC):
    value = int(rng.integers(10))
    question = Question(family, DIGIT[value])
    depth = 0
    for op, digit in operations:
        value = apply_operation(value, op, digit)
        depth = 0 if (op, digit) == ("*", 0) else depth + 1
        question.add(OPERATION[op, digit], DIGIT[value], depth)
    question.add(EQUALS, DIGIT[value], depth)
    return question


def kin_question(rng, facts, k):
    who = int(rng.integers(len(NAMES)))
    question = Question(KIN, NAME[who])
    for depth, relation in enumerate(rng.integers(len(RELATIONS), size=k), 1):
        who = int(facts[relation, who])
        question.add(RELATION[relation], NAME[who], depth)
    question.add(ASK, NAME[who], k)
    return question


def chain_table(rng, people):
    """A single cycle, written in shuffled order: every look-up has one answer, and no walk ends."""
    cycle = rng.permutation(len(NAMES))[:people]
    follows = {int(a): int(b) for a, b in zip(cycle, np.roll(cycle, -1))}
    order = rng.permutation(cycle)
    tokens = [t for who in order for t in (NAME[who], ENTRY[follows[int(who)]])]
    return tokens, follows


def chain_question(rng, table, follows, k):
    who = int(rng.choice(list(follows)))
    question = Question(CHAIN, NAME[who], table)
    for depth in range(1, k + 1):
        who = follows[who]
        question.add(HOP, NAME[who], depth)
    question.add(ASK, NAME[who], k)
    return question


class RowMaker:
    """Packs training questions into rows.

    Several questions share a row, but each has positions of its own starting at 0 and sees only itself
    (and, for chain, the table at the head of the row).  The model therefore meets a training question
    exactly as a served one: alone in its sequence.
    """

    # A fifth of the questions start with the begin token, so that a server which puts it in front of
    # every prompt gets the same answers as one which does not.
    BEGIN_SHARE = 0.2
    RESET_SHARE = 0.25

    def __init__(self, seed, facts, rows, length):
        self.rng = np.random.default_rng([seed, 2])
        self.facts = facts
        self.rows = rows
        self.length = length
        weights = np.array([4.0 if o in FAITHFUL else 1.0 for o in ALL_OPERATIONS])
        # The three multiplications of the test are rarer than the additions: nudge them up.
        weights += np.array([4.0 if o in FAITHFUL and o[0] == "*" else 0.0 for o in ALL_OPERATIONS])
        self.weights = np.cumsum(weights / weights.sum())

    def operations(self, k):
        picks = np.searchsorted(self.weights, self.rng.random(k))
        chosen = [ALL_OPERATIONS[i] for i in picks]
        if self.rng.random() < self.RESET_SHARE:
            chosen[int(self.rng.integers(k))] = ("*", 0)
        return chosen

    def question(self, family, k):
        if family == CALC:
            return calc_question(self.rng, self.operations(k))
        return kin_question(self.rng, self.facts, k)

    def fill(self, batch, row, family, top, people):
        rng = self.rng
        at, segment, table, follows = 0, 1, [], {}
        table_begin = []
        if family == CHAIN:
            table, follows = chain_table(rng, int(rng.integers(people[0], people[1] + 1)))
            if rng.random() < self.BEGIN_SHARE:
                table_begin = [SHORT_BEGIN]
            head = table_begin + table
            at = len(head)
            batch["token"][row, :at] = head
            batch["position"][row, :at] = np.arange(at)
            batch["segment"][row, :at] = 0
        # A small table has few questions, perhaps held out all of them: so count the attempts.
        for _ in range(50):
            begin = family != CHAIN and rng.random() < self.BEGIN_SHARE
            room = self.length - at - 4 - begin
            if room < 1:
                break
            k = min(int(rng.integers(1, top + 1)), room)
            question = chain_question(rng, table, follows, k) if family == CHAIN else self.question(family, k)
            if held_out(question.prompt()):
                continue
            tokens = question.tokens + [question.answer, SHORT_END]
            values = question.values + [SHORT_END, -1]
            depths = question.depths + [0, 0]
            if begin:
                tokens, values, depths = [SHORT_BEGIN] + tokens, [-1] + values, [0] + depths
            start = len(table_begin) + len(table)
            to = at + len(tokens)
            batch["token"][row, at:to] = tokens
            batch["target"][row, at:to] = values
            batch["depth"][row, at:to] = depths
            batch["position"][row, at:to] = np.arange(start, start + len(tokens))
            batch["segment"][row, at:to] = segment
            at, segment = to, segment + 1

    def batch(self, shares, top, people):
        shape = (self.rows, self.length)
        batch = {
            "token": np.full(shape, SHORT_END, np.int64),
            "target": np.full(shape, -1, np.int64),
            "depth": np.zeros(shape, np.int64),
            "position": np.zeros(shape, np.int64),
            # Left-over places at the end of a row see nobody but each other.
            "segment": np.full(shape, 99, np.int64),
            "family": np.zeros(shape, np.int64),
        }
        counts = np.floor(np.array(shares) * self.rows + self.rng.random()).astype(int)
        counts[CHAIN] = self.rows - counts[CALC] - counts[KIN]
        for row, family in enumerate(np.repeat([CALC, KIN, CHAIN], counts)):
            batch["family"][row] = family
            self.fill(batch, row, family, top[family], people)
        segment = batch["segment"]
        visible = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
        batch["visible"] = visible & np.tril(np.ones((self.length, self.length), bool))
        # The number of recurrent steps after which a value can be there at all.
        depth = batch["depth"]
        batch["need"] = np.where(batch["family"] == CHAIN, 2 * depth - 2, depth - 1)
        return batch


def test_question(rng, facts, family, k):
    if family == KIN:
        return kin_question(rng, facts, k)
    if family == CHAIN:
        table, follows = chain_table(rng, QUESTION_TABLE)
        return chain_question(rng, table, follows, k)
    if family == CALC:
        return calc_question(rng, [FAITHFUL[i] for i in rng.integers(len(FAITHFUL), size=k)])
    operations = [FAITHFUL[i] for i in rng.integers(len(FAITHFUL), size=RESET_LENGTH)]
    operations[RESET_LENGTH - 1 - k] = ("*", 0)
    return calc_question(rng, operations, RESET)


def question_set(seed, facts):
    """The shipped questions: distinct prompts of the held-out class."""
    rng = np.random.default_rng([seed, 3])
    found = []
    for level, ranges in LEVELS.items():
        for family, (low, high) in ranges.items():
            seen = set()
            # Small spaces (two relations over sixteen people) may hold fewer than wanted: give up in time.
            for attempt in range(200000):
                if len(seen) == QUESTIONS[family]:
                    break
                k = low + attempt % (high - low + 1)
                question = test_question(rng, facts, family, k)
                prompt = question.prompt()
                if not held_out(prompt) or prompt in seen:
                    continue
                seen.add(prompt)
                found.append({"prompt": prompt, "answer": SHORT[question.answer], "difficulty": level,
                              "family": FAMILIES[family]})
    return found
