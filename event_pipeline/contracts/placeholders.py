"""What producers write where there is no id, so that many users do not look like one.

The words are those that the customer-data platforms refuse as ids (PostHog's, Mixpanel's and
Amplitude's lists agree on most), in any case, between blanks, and what shows no letter at all.
"""

# A text that is nothing but these shows nothing: blanks of any kind, characters of no width.
_INVISIBLE = r"[\\p{Z}\\p{Cc}\\p{Cf}\\x{115F}\\x{1160}\\x{2800}\\x{3164}\\x{FFA0}]*"
_WORDS = "|".join(
    (
        r"[(<]?(null|nil|none|nan|na|n/a|undefined|undef|unknown|anonymous)[)>]?",
        r"[(<]?not[ _-]?(set|available|provided|applicable)[)>]?",
        r"#n/a",
        r"\\\\n",  # as databases export null
        r"-+|_+|[?]+|[.]+",
        r"\\[object object\\]",  # as JavaScript spells any object
        r"0{8}-0{4}-0{4}-0{4}-0{12}",
    )
)

# A pattern, spelled as in a Spark SQL literal, of the whole of an id in lower case. No word begins
# with b to m, o to t, or 1 to 9, which statements see before they try it.
PLACEHOLDER = rf"^{_INVISIBLE}({_WORDS})?{_INVISIBLE}\\z"
