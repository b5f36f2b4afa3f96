#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Depth costs no memory where it shall not: with kv_slots = 1 a token of context takes the same bytes at depth 1, 8
and 64, by what GetModel says and by what the process holds. Resident sizes are taken twice with finished jobs that
keep their places (held_jobs), few of them and then many; the slope between the two leaves out whatever does not
grow with the context. Under the sanitizers resident sizes mean nothing; there only the figures are compared."""
import os
import re
import shutil
import tempfile
import unittest

import harness
from harness import make_spec
from make_model import make_model

SHAPE = dict(n_embd=32, heads=2, intermediate=32, prelude=2, core=2, coda=2, context=144, vocab=64)
# Two tokens are written, of which one enters the model: eight whole pages. (With one token a held job would keep
# the latents of its prompt too, in case that is to be thought further.)
PROMPT, POSITIONS = 127, 128
FEW, MANY = 16, 112
DEPTHS = (1, 8, 64)


def bytes_per_token(planes):
    """Keys and values of all layers in f32; the recurrent block's once per entry."""
    layers = SHAPE["prelude"] + SHAPE["coda"] + SHAPE["core"] * planes
    return layers * 2 * SHAPE["n_embd"] * 4


def anonymous_kib(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))


class ContextNeutral(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="ltd-model-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, True)
        cls.model = make_model(os.path.join(cls.directory, "noise"), **SHAPE)

    def serve(self, **options):
        return self.daemon(model=self.model, options=dict(threads=1, kv_pages=(MANY + 1) * 8, prefill_chunk=64,
                                                          held_jobs=MANY,
                                                          max_jobs_running=MANY + 1, max_steps=64, **options))

    def hold(self, api, first, until, depth):
        """Jobs that end and keep their places."""
        for i in range(first, until):
            prompt = [(7 * i + p) % SHAPE["vocab"] for p in range(PROMPT)]
            api.generate(make_spec(prompt, depth=depth, max_tokens=2, seed=i, ignore_eos=True))
        self.assertEqual(api.status().jobs_held, until)

    def measured_bytes_per_token(self, depth, **options):
        daemon = self.serve(**options)
        api, sizes = daemon.api(), []
        for first, until in ((0, FEW), (FEW, MANY)):
            self.hold(api, first, until, depth)
            sizes.append(anonymous_kib(daemon.pid))
        self.assert_stops_cleanly(daemon)
        return (sizes[1] - sizes[0]) * 1024 / ((MANY - FEW) * POSITIONS)

    def test_the_figures_do_not_depend_on_the_depth(self):
        for slots, options in ((1, {}), (1, dict(kv_format="bf16")), (4, {}), (0, {})):
            for depth in DEPTHS:
                daemon = self.daemon(model=self.model, options=dict(kv_slots=slots, max_steps=depth, kv_pages=20,
                                                                    **options))
                expected = bytes_per_token(min(slots or depth, depth)) // (2 if options else 1)
                self.assertEqual(daemon.api().model().kv_bytes_per_position, expected, (slots, depth, options))
                self.assert_stops_cleanly(daemon)

    @unittest.skipIf(harness.SANITIZE, "resident sizes of a sanitizer build mean nothing")
    def test_the_process_does_not_grow_with_the_depth(self):
        found = {depth: self.measured_bytes_per_token(depth, kv_slots=1) for depth in DEPTHS}
        print("resident bytes per token of context by depth: %s; by figures %d"
              % ({depth: round(size) for depth, size in found.items()}, bytes_per_token(1)))
        for depth, size in found.items():
            self.assertAlmostEqual(size / found[1], 1, delta=0.05, msg="depth %d and depth 1" % depth)
            self.assertAlmostEqual(size / bytes_per_token(1), 1, delta=0.05, msg="depth %d and the figure" % depth)

    @unittest.skipIf(harness.SANITIZE, "resident sizes of a sanitizer build mean nothing")
    def test_it_does_where_every_step_has_its_own_entry(self):
        """The other outcome of the same measurement."""
        size = self.measured_bytes_per_token(8)
        print("resident bytes per token at depth 8, an entry per step: %d; by figures %d" % (size, bytes_per_token(8)))
        self.assertAlmostEqual(size / bytes_per_token(8), 1, delta=0.05)


if __name__ == "__main__":
    harness.main()
