"""Placeholders that producers write if there is no id; taken as ids, they would merge many users.

The words are those that the customer-data platforms refuse as ids (PostHog's, Mixpanel's and
Amplitude's lists agree on most), in any case and with blanks around them. A text in which nothing
is visible is a placeholder, too.
"""

# Characters that show nothing: blanks of any kind, and characters without width.
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

# A pattern for the whole of an id in lower case, spelled as in a Spark SQL literal. No word begins
# with b to m, o to t, or 1 to 9; statements check that before they try the pattern.
PLACEHOLDER = rf"^{_INVISIBLE}({_WORDS})?{_INVISIBLE}\\z"
