"""The words of the small world: what lists, tables, records, programs and stories are made of."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text that lists them."""
    return tuple(text.split())


THINGS = words("""
    apple bag ball bell boat book boot bowl box bread bridge button cake candle chair clock coat comb cup door drum
    flute gate hat key kite knife lamp leaf letter map milk nail nut pear pen pipe plate pot ring rope rose scarf
    shell shoe spoon star stone table tent""")
ANIMALS = words("bear bee bird cat cow crab deer dog duck fish fox frog goat hare hen horse lion mole mouse")
COLOURS = words("black blue brown gold green grey pink purple red silver white yellow")
NAMES = words("""
    Ada Alma Ana Ben Bo Carl Clara Dan Dora Ella Emil Eva Finn Gus Hana Hugo Ida Ivan Jan Jona Kai Kira Lena Leo
    Lisa Mara Max Mia Nils Nina Noa Olga Otto Paul Rita Rosa Sam Sara Tim Tom Uma Vera Walt Yara Zoe""")
JOBS = words("""
    baker barber builder carpenter clerk cook dancer doctor driver farmer fisher gardener judge miller miner nurse
    painter pilot potter sailor singer smith tailor teacher weaver writer""")

COMMON = words("""
    a about above after again all also always an and another answer any are around as ask at away back be because
    before below best better between big both but by call called came can change come complete could day describe
    did different do does done down each early easy end enough even ever every example explain few find first follow
    following food for form found four from full gave get give given go goes good great had half hand has have he
    help her here high him his home hour house how if important in input instruction into is it its just keep kind
    know large last later left less let life light like likes list little live long look made make makes man many
    may me mean means mind more most move much must my name near need never new next night no not nothing now number
    of off often old on once one only open or order other our out over own part people place plan play point problem
    put question quick read ready real response right same say second see sentence set she short should show side
    simple since six small so some something soon start step still stop story such summary take task tell text than
    thank that the their them then there these they thing things think this three through time to together too top
    total translate true try turn two under until up us use used using very want was water way we well went were
    what when where which while who why will with without word words work world would write year years yes yet you
    young your""")
"""Frequent English and instruction words: only the tokenizer needs them, so that other text is not cut into bytes."""
