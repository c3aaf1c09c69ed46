"""The lines of a TOML file's keys, in every shape TOML allows."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from farmd.config_lines import key_lines


def test_every_shape():
    text = '''top = 1
[a.b]
x.y = 2  # dotted
"quoted key" = """
two
lines"""
inline = {p = 1, q = [1, 2]}
[[c]]
k = 1
[c.d]
e = 1

[[c]]
k = [
  1,  # [not a header]
]
[[c.n]]
z = 1
'''
    assert {
        ("top",): 1,
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "b", "x", "y"): 3,
        ("a", "b", "quoted key"): 4,
        ("a", "b", "inline"): 7,
        ("a", "b", "inline", "q", 1): 7,
        ("c", 0): 8,
        ("c", 0, "k"): 9,
        ("c", 0, "d"): 10,
        ("c", 0, "d", "e"): 11,
        ("c", 1): 13,
        ("c", 1, "k"): 14,
        ("c", 1, "n", 0, "z"): 18,
    }.items() <= key_lines(text).items()


def test_blocks_within_a_table_on_either_side_of_its_own_keys():
    text = "[[tax.rules]]\na = 1\n[tax]\nrate = 2\n[[tax.rules]]\n\na = 3\n[shipping]\n[[shipping.rules]]\nb = 4\n"
    assert key_lines(text) == {
        ("tax",): 1,
        ("tax", "rules"): 1,
        ("tax", "rules", 0): 1,
        ("tax", "rules", 0, "a"): 2,
        ("tax", "rate"): 4,
        ("tax", "rules", 1): 5,
        ("tax", "rules", 1, "a"): 7,
        ("shipping",): 8,
        ("shipping", "rules"): 9,
        ("shipping", "rules", 0): 9,
        ("shipping", "rules", 0, "b"): 10,
    }


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=8))
def test_every_key_of_every_block_has_the_line_it_stands_on(blocks):
    rows = [row for name, blanks in blocks for row in ("[[block]]", *[""] * blanks, f"{name} = 1")]
    found = key_lines("\n".join(rows))
    for index, block in enumerate(tomllib.loads("\n".join(rows)).get("block", [])):
        for key in block:
            assert rows[found[("block", index, key)] - 1] == f"{key} = 1"
