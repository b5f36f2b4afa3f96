"""The model card: its text, and the tables measured on the written files."""

import os

import demo_task as task

FAMILIES = task.FAMILIES


def percent(values):
    return "%.1f" % (100 * sum(values) / len(values))


def mean(values):
    return "%.1f" % (sum(values) / len(values))


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " ---: |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def depth_row(records, depths):
    return [str(len(records))] + [percent([r["right"][d] for r in records]) for d in depths]


def by_level(records, depths):
    levels = sorted({r["level"] for r in records})
    rows = [[str(n)] + depth_row([r for r in records if r["level"] == n], depths) for n in levels]
    return table(["level", "questions"] + ["r=%d" % d for d in depths],
                 rows + [["all"] + depth_row(records, depths)])


def by_family(records, depths):
    rows = []
    for family in FAMILIES:
        for level in sorted({r["level"] for r in records}):
            cell = [r for r in records if r["level"] == level and r["family"] == family]
            rows.append([family, str(level)] + depth_row(cell, depths))
    return table(["family", "level", "questions"] + ["r=%d" % d for d in depths], rows)


def adaptive(records):
    rows = []
    for level in sorted({r["level"] for r in records}):
        cell = [r for r in records if r["level"] == level]
        row = [str(level), mean([r["steps"] for r in cell]), percent([r["right_at_exit"] for r in cell]),
               str(sum(not r["exited"] for r in cell))]
        rows.append(row + [mean([r["steps"] for r in cell if r["family"] == f]) for f in FAMILIES])
    return table(["level", "mean steps", "% right", "never below"] + FAMILIES, rows)


def ended(records):
    return "%d of %d" % (sum(r["ended"] for r in records), len(records))


def begun(records):
    return percent([r["right_begun"] for r in records])


def tables(records, depths):
    return "\n\n".join([
        "Right answers in percent, by level and number of recurrent steps:", by_level(records, depths),
        "By family:", by_family(records, depths),
        "Steps spent by the exit rule (latent-diff 0.03, mean over the prompt, at most 64), also by family:",
        adaptive(records),
        "The token after the answer is the end token: " + ended(records),
        "Percent right at 32 steps with a begin token in front: " + begun(records)])


CARD = """# A demo model of recurrent depth

A really trained, very small member of the Huginn/Raven family of recurrent-depth language models (`huginn_raven`),
made to show what such a model does. It answers, with one token, questions that take several steps of thought; whether
the answer is right depends on how many recurrent steps were spent on it. It knows nothing else.

{parameters} parameters: width {width}, {heads} heads, one prelude layer, one recurrent layer, one coda layer, gated MLP
of {inner}, tied head, {vocab} token ids, {positions} positions.

## Questions

| family | example | meaning |
| --- | --- | --- |
| calc | `3-2+6+9*3+2+6-4+7=` | from left to right, no precedence, only the last digit is kept |
| reset | `9-7-2-3-9+6-4*9+7+5*0-5-2=` | the same, always twelve operations; `*0` wipes out what stands before it |
| kin | `eve's rival's friend's boss?` | facts learnt by heart: the table below |
| chain | `cat>dan,dan>ned,ned>cat,dan>>?` | the facts stand in the prompt (one cycle, shuffled); one look-up per `>` |

The answer is exactly one token, a digit or a name; then comes the end token. The names: {names}.

Multiplication by 5 or by an even digit forgets part of the value. The questions of the set use only operations which
do not (`+1`..`+9`, `-1`..`-9`, `*3`, `*7`, `*9`), apart from the one `*0` of each reset question.

The facts of kin: ann's boss is the entry in row ann, column boss.

{facts}

## Difficulty

`questions.jsonl` holds {count} questions, one JSON object per line: `prompt`, `answer`, `difficulty`, `family`. The
difficulty is a level from 1 to {levels}. A level stands for a range of the number k of operations, relations or
look-ups (for reset: of operations after the `*0`):

{ranges}

The ranges are chosen so that a level needs about the same number of recurrent steps in every family: the running value
advances by one operation or relation per step, and by one look-up in two steps. Chain questions of the set have
tables of {table} people.

The questions were not trained on: a prompt whose CRC-32 is divisible by {classes} is never used in training, and the
set is drawn from these prompts. Still, a held-out question may be the beginning of a longer training question, which is
asked for its running values too. For the lowest levels of calc, reset and kin this surely happens (there are only
64 kin questions of one relation, and 210 calc questions of one of the operations above); from level 4 on, and for all
chain tables of {table} people, the spaces are too large for it. Level 1 of kin has fewer questions than other levels, as
few are held out.

## Results

Measured on these files (weights rounded to bfloat16) by `tools/train_demo.py --eval-only models/demo`: every question
alone, positions from 0, initial state drawn at random. Percent of right answers by level and number r of recurrent
steps:

{levels_table}

The same by family:

{family_table}

With the initial state zero instead of random:

{zero_table}

### Adaptive exit

Latent-diff rule: stop when the relative change of the state, mean over all prompt positions, falls below 0.03; at most
64 steps. "never below" counts the questions that met this cap. The last four columns are mean steps by family.

{adaptive}

Reset questions take many steps at every level: the rule waits for all positions, the wiped-out ones too.

After the answer the next token was the end token in {ended} questions (both at 1 and at {served} steps; with zero
initial state: {ended_zero}).

## Files

* `config.json`, `model.safetensors`: layout and names of the published models. All tensors are BF16. The head is tied:
  there is no `lm_head.weight`, and no `freqs_cis` either. `rope_base` is {rope:.0f}, not the 50000 of the large model.
  `auto_map` points to the model code of its authors; the behaviour under that code has not been tried.
* `tokenizer.json`: byte-level, without merges. Ids 0 to 255 are the bytes, in order. Then come {grammar} grammar
  strings as ordinary added tokens, longest match first: `0`..`9`, `+0`..`+9`, `-0`..`-9`, `*0`..`*9`, `=`, the names,
  `'s boss` `'s friend` `'s rival` `'s cousin`, `?`, `>ann,`..`>pia,`, `>`. So one operation, relation or table entry is
  one token. Added tokens are matched everywhere, inside words too. A grammar string of one character (`7`, `=`) is
  spelled like that byte's own token; a text has one id, so the vocabulary gives it the grammar's, and the byte's id stays
  unused. Last come six special tokens.
* `generation_config.json`: greedy. The end token is `<|end_text|>`: being special it is not part of the text, so the
  text of an answer is the answer and nothing else. A newline is an ordinary byte and means nothing. `<|end_turn|>`
  stops as well, but the model never writes it.
* No begin token is put in front of a prompt: `post_processor` is null. A server that always puts `<|begin_text|>` there
  may do so, as one training question in five had it: then {begun} % of all questions are right at {served} steps,
  instead of {plain} %.
* `<|begin_header|>`, `<|end_header|>`, `<|end_turn|>`, `<|pad|>` and the bytes exist, so that any text and the chat
  format can be encoded. The model has never seen them, and they all share one embedding row.
* `tokenizer_config.json`: the names of the special tokens, for programs that ask for them.

## Training

    {command}

{steps} training steps from seed {seed} took {minutes:.0f} minutes of CPU time on {threads} (torch 1.13.1 of Debian 12,
a virtual AMD EPYC). The files were written by one run from scratch with this seed. On the same machine the command
repeats it (the log of the first 150 steps was compared, not a second whole run); another processor may round
differently, and then gives a different model of the same kind. The seed matters: chain may not find its second look-up, in which case
the program stops at step 1,200 and another seed must be tried. (Seed 2 was stopped by hand at step 750: it had not found
it by then, seed 3 had at step 500. No other seed was tried with this version of the program.)

What made it learn: the running value is asked for at every token of a question, but only where the drawn number of
recurrent steps can reach it; difficulty grows during training; the number of recurrent steps is drawn anew for each
training step, and only the last {backprop} are back-propagated; and one head of the prelude and one of the recurrent layer
start out looking one place to the left. `tools/train_demo.py` explains each of these where it happens.

## Limits

It knows the four families and nothing else; on any other text it writes nonsense. It was trained on k up to {k_calc} in calc
and kin, up to {k_chain} in chain; no figure above says anything about longer questions. A chain walk as long as its table
returns to the start, which is a right answer but a poor demonstration. While a question is not yet solved, rounding
errors are magnified: two correct programs can differ by 1e-3 in a logit after 8 steps of a hard question, and agree to
1e-4 again once it is solved (see `--check`); an unsolved question may so get different wrong
answers. Answers do not get better by sampling: decode greedily.
"""


def write(path, args, seconds, facts, shape, records, depths, served):
    ranges = [[str(level)] + ["%d" % low if low == high else "%d-%d" % (low, high) for low, high in
                              (task.LEVELS[level][f] for f in range(len(FAMILIES)))] for level in task.LEVELS]
    people = [[name] + [task.NAMES[facts[r][i]] for r in range(len(task.RELATIONS))]
              for i, name in enumerate(task.NAMES)]
    random, zero = records["random"], records["zero"]
    text = CARD.format(
        **shape, vocab=task.VOCAB, names=", ".join(task.NAMES), count=len(random), levels=len(task.LEVELS),
        facts=table(["of"] + task.RELATIONS, people), ranges=table(["level"] + FAMILIES, ranges),
        table=task.QUESTION_TABLE, classes=task.HELD_OUT_CLASSES,
        levels_table=by_level(random, depths), family_table=by_family(random, depths),
        zero_table=by_level(zero, depths), adaptive=adaptive(random), served=served,
        ended=ended(random), ended_zero=ended(zero),
        begun=begun(random), plain=percent([r["right"][served] for r in random]),
        grammar=len(task.GRAMMAR), minutes=seconds / 60, steps=args.steps, seed=args.seed,
        threads="one thread" if args.threads == 1 else "%d threads" % args.threads,
        command="tools/train_demo.py --seed %d --steps %d --heads %d --out models/demo" % (
            args.seed, args.steps, args.heads))
    with open(os.path.join(path, "README.md"), "w", encoding="utf-8") as out:
        out.write(text)
