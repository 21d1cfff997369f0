"""Documents with screens: ```keys are typed, ```screen shows what comes.

helper_screens.py script DOCUMENT > KEYS   what to give to --script: each screen is saved as N.txt
helper_screens.py compare DOCUMENT LEAST   whether they are still the same, but for numbers
helper_screens.py write DOCUMENT           puts them into the document
"""
import re
import sys


def mask(text):
    # which element is the worst, and what that cuts at the end of its line
    text = re.sub(r"(worst \[[\d,]+\][^│]*?)  (?:[^│ ]| (?! ))*…│", r"\1│", text)
    text = re.sub(r"(worst|at) \[[\d,]+\]", r"\1 #", text)
    text = re.sub(r"-?\d+\.\d+(e[-+]\d+)?|-?\d+e[-+]\d+|-?\d+\.?\d*…|\d+ (B|KiB|MiB)", "#", text)
    text = re.sub(r"[▁▂▃▄▅▆▇░▒▓█▀]", "▒", text)
    return [re.sub(r"[ ▒#]+", " ", re.sub(r"yaml:\d+", "yaml:#", line)) for line in text.splitlines()]


what, path = sys.argv[1:3]
blocks = re.split(r"^```(\w+)\n(.*?)^```\n", open(path, encoding="utf-8").read(), flags=re.M | re.S)
screens = 0
for i in range(1, len(blocks), 3):
    if blocks[i] == "keys" and what == "script":
        print(blocks[i + 1], end="")
    if blocks[i] != "screen":
        continue
    screens += 1
    name = f"{screens}.txt"
    if what == "script":
        print(f":save-screen {name}")
        continue
    shown = open(name, encoding="utf-8").read()
    if what == "write":
        blocks[i + 1] = shown
    elif mask(shown) != mask(blocks[i + 1]):
        sys.exit(f"screen {screens} of {path} is another one now:\n{shown}")
if what == "write":
    text = blocks[0]
    for i in range(1, len(blocks), 3):
        text += f"```{blocks[i]}\n{blocks[i + 1]}```\n{blocks[i + 2]}"
    open(path, "w", encoding="utf-8").write(text)
elif what == "compare" and screens < int(sys.argv[3]):
    sys.exit(f"{path} has lost its screens")
