"""A page of lockstep, read as XML and as HTML, with what holds of all of them."""
import html.parser, math, re, sys
import xml.etree.ElementTree as tree

VOID = {"meta", "input", "br"}
class Balanced(html.parser.HTMLParser):
    """As a browser without XML reads it: every element that opens closes, in order."""
    def __init__(self):
        super().__init__()
        self.open = []
    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
    def handle_startendtag(self, tag, attributes):
        assert tag in VOID or "svg" in self.open, tag
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

class Page:
    def __init__(self, path):
        text = open(path, encoding="utf-8").read()
        assert text.startswith("<!DOCTYPE html>")
        parser = Balanced()
        parser.feed(text)
        parser.close()
        assert not parser.open, parser.open
        self.root = tree.fromstring(text.encode())
        self.text = text
        ids = [e.get("id") for e in self.root.iter() if e.get("id")]
        assert len(ids) == len(set(ids)), "an id stands twice"
        for element in self.root.iter():
            element.tag = element.tag.split("}")[1]
            for name, value in element.attrib.items():
                assert name not in ("src", "action", "srcset") and "url(" not in value
                assert name != "href" or value[1:] in ids and value[0] == "#", value
                assert not name.startswith("on"), name
        style = "".join(e.text for e in self.root.iter("style"))
        assert "url(" not in style and "@import" not in style
        assert "prefers-color-scheme: dark" in style
        assert text.count("http") - 1 == text.count("http-equiv"), "something from elsewhere"
        assert len(list(self.root.iter("script"))) == 1
    def table(self, name):
        found = [t for t in self.root.iter("table") if name in t.get("class", "").split()]
        return [[self.value(c) for c in row if c.tag in ("td", "th")]
                for t in found for row in t.find("tbody")]
    @staticmethod
    def value(cell):
        exact = cell.get("data-v")
        if exact is None:
            return "".join(cell.itertext())
        return None if exact == "" else float(exact)
    def facts(self):
        names = ["".join(e.itertext()) for e in self.root.iter("dt")]
        return dict(zip(names, ("".join(e.itertext()) for e in self.root.iter("dd"))))
    def section(self, name):
        return next(e for e in self.root.iter("section") if e.get("id") == name)
    @staticmethod
    def text_of(element):
        return "".join(element.itertext())
    def verdict(self):
        return next(e.text for e in self.root.iter("p") if "verdict" in e.get("class", ""))

def same(shown, known):
    if known is None:  # not finite: JSON has no word for it
        return shown is None or not math.isfinite(shown)
    return shown == known
