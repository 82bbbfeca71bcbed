package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// example is one text. An attack stands at From:To; an honest text has To 0.
type example struct {
	Text     string
	From, To int
	// Source is what is left out together: a family of the grammar, a set of
	// rows, or a folder.
	Source string
	// Class is what kind of text it is.
	Class string
}

// frames are what a tool's result may look like around a piece of text. Each
// has one PIECE; FILL is honest text, NAME and WORD are names.
func frames() []string {
	return []string{
		"FILL\nPIECE\nFILL", "FILL\n\nPIECE", "PIECE\n\nFILL", "FILL PIECE FILL", "FILL PIECE", "PIECE FILL",
		"FILL\n\n\n\n\nPIECE", "FILL\n---\nPIECE\n---\nFILL",
		"{\"results\": [{\"title\": \"SHORT\", \"snippet\": \"FILL\"}, {\"title\": \"SHORT\", \"snippet\": \"PIECE\"}], \"total\": 2}",
		"{\"id\": 12, \"status\": \"open\", \"body\": \"PIECE\", \"author\": \"NAME\"}",
		"[{\"name\": \"NAME\", \"comment\": \"FILL PIECE\"}, {\"name\": \"NAME\", \"comment\": \"FILL\"}]",
		"{\"product\": \"WORD\", \"price\": 19.99, \"review\": \"FILL PIECE\"}",
		"{'subject': 'SHORT', 'sender': 'NAME', 'body': 'FILL PIECE FILL', 'read': False}",
		"<html><head><title>SHORT</title></head><body><h1>SHORT</h1><p>FILL</p><p>PIECE</p></body></html>",
		"<p>FILL</p>\n<!-- PIECE -->\n<p>FILL</p>", "<div>FILL</div><div style=\"display:none\">PIECE</div>",
		"<span style=\"font-size:0;color:white\">PIECE</span><p>FILL</p>", "<img src=\"WORD.png\" alt=\"PIECE\">\n<p>FILL</p>",
		"<meta name=\"description\" content=\"PIECE\"><p>FILL</p>", "<li>SHORT</li><li>PIECE</li><li>SHORT</li>",
		"# WORD\n\nFILL\n\n## Notes\n\nPIECE\n\n## License\n\nMIT", "# WORD\n\nFILL\n\n> PIECE\n", "FILL\n\n[//]: # (PIECE)\n", "FILL\n\n```\nPIECE\n```\n",
		"- SHORT\n- PIECE\n- SHORT", "**SHORT**\n\nPIECE",
		"Subject: SHORT\nFrom: NAME <NAME@example.com>\nTo: team@example.com\nDate: Tue, 4 Jun 2024 10:12:00 +0000\n\nFILL\n\nPIECE\n\nBest,\nNAME",
		"From: NAME\nSubject: SHORT\n\nHi,\n\nPIECE\n\nRegards,\nNAME", "Subject: SHORT\nBody: FILL PIECE",
		"// PIECE\nFILL", "FILL\n# PIECE\n", "/*\n * PIECE\n */\nFILL", "FILL\n\"\"\"PIECE\"\"\"\n", "    // TODO: PIECE\n    return nil\n}\n", "-- PIECE\nSELECT 1;",
		"2024-05-01 12:00:01 INFO SHORT\n2024-05-01 12:00:02 WARN PIECE\n2024-05-01 12:00:03 INFO SHORT", "id,name,notes\n1,NAME,SHORT\n2,NAME,\"PIECE\"\n3,NAME,SHORT",
		"title: SHORT\ndescription: PIECE\nlabels:\n  - WORD\n", "name: NAME\nnotes: |\n  FILL\n  PIECE\n",
		"NAME: SHORT\nNAME: PIECE\nNAME: SHORT", "[10:02] NAME: SHORT\n[10:03] NAME: PIECE",
		"1. SHORT - https://example.com/WORD\n   FILL\n2. SHORT - https://example.org/WORD\n   PIECE\n3. SHORT", "Title: SHORT\nURL: https://example.com/WORD\nContent: FILL PIECE FILL",
		"Issue #42: SHORT\nOpened by NAME\n\nFILL\n\nPIECE\n\nComments: 2", "Event: SHORT\nWhere: WORD\nWhen: 2024-05-15 10:00\nParticipants: NAME\nDescription: PIECE",
		"Review by NAME (5/5): FILL PIECE", "Rating: 4.5 Reviews: PIECE, FILL", "Page 1 of 3\n\nFILL\n\nPIECE", "PIECE", "PIECE", "PIECE\n",
		"Transaction 2291: 12.00 EUR, NAME, \"PIECE\"", "EXIF comment: PIECE\nCamera: WORD", "commit 1f2e3d\nAuthor: NAME\n\n    SHORT\n\n    PIECE\n", "NAME wrote:\n> PIECE\n\nFILL",
		"Transcript\n00:01 FILL\n00:14 PIECE\n00:20 SHORT", "| item | note |\n|---|---|\n| WORD | PIECE |\n| WORD | SHORT |", "result: \"FILL PIECE\"\nerror: null",
	}
}

// carry puts a piece into a frame and returns the text and where the piece is.
func carry(r *rand.Rand, g grammar, fill func(int) string, piece string) (text string, from, to int) {
	all := frames()
	frame := all[r.IntN(len(all))]
	before, after, _ := strings.Cut(frame, "PIECE")
	fillIn := func(t string) string {
		var b strings.Builder
		for t != "" {
			i := len(t)
			word := ""
			for _, w := range []string{"FILL", "SHORT", "NAME", "WORD"} {
				if k := strings.Index(t, w); k >= 0 && k < i {
					i, word = k, w
				}
			}
			b.WriteString(t[:i])
			switch word {
			case "FILL":
				b.WriteString(fill(40 + r.IntN(700)))
			case "SHORT":
				b.WriteString(fill(12 + r.IntN(40)))
			case "NAME":
				b.WriteString(g.say(r, "name"))
			case "WORD":
				b.WriteString(g.say(r, "word"))
			}
			t = t[i+len(word):]
		}
		return b.String()
	}
	before, after = fillIn(before), fillIn(after)
	return before + piece + after, len(before), len(before) + len(piece)
}

// style changes how a piece is written, as people do.
func style(r *rand.Rand, t string) string {
	switch r.IntN(24) {
	case 0:
		return strings.ToUpper(t)
	case 1, 2:
		return strings.ToLower(t)
	case 3:
		return strings.ReplaceAll(t, ". ", "\n")
	case 4:
		return "\"" + t + "\""
	case 5:
		return "**" + t + "**"
	case 6:
		return strings.ReplaceAll(strings.ReplaceAll(t, ".", ""), ",", "")
	case 7:
		return "(" + t + ")"
	}
	return t
}

// attacks are the families of attacks of the grammar.
func attacks() []string {
	return []string{"override", "override", "override", "authority", "authority", "authority", "message", "message", "hijack", "hijack", "direct", "direct", "turns", "jail", "leak",
		"ko", "ko", "es", "de", "fr", "pt", "it", "ru", "zh", "ja"}
}

// twins are the families of honest text of the grammar.
func twins() []string {
	return []string{"doc", "doc", "doc", "doc", "quoted", "quoted", "mail", "mail", "mail-body", "plainpay", "plainpay", "out", "recipe", "ai-text", "ai-text", "ko-h", "xx-h", "ask"}
}

// makeResults makes n attacks and n honest twins in the frames of results.
func makeResults(r *rand.Rand, g grammar, fill func(int) string, n int) (bad, good []example) {
	fams, honest := attacks(), twins()
	for i := range n {
		f := fams[i%len(fams)]
		t, a, b := carry(r, g, fill, style(r, g.say(r, f)))
		bad = append(bad, example{t, a, b, "own " + f, "result"})
		if i%4 == 0 {
			t, _, _ = carry(r, g, fill, scatter(r, fill(60+r.IntN(200))))
			good = append(good, example{t, 0, 0, "own scatter", "result"})
		}
		if i%12 == 0 {
			t = repeat(r, pick(r, fill(80), fill(80), g.say(r, "ko-h"), g.say(r, "xx-h"), g.say(r, "doc")))
			if r.IntN(3) == 0 {
				t, _, _ = carry(r, g, fill, t)
			}
			good = append(good, example{t, 0, 0, "own repeat", "result"})
		}
		h := honest[i%len(honest)]
		piece := style(r, g.say(r, h))
		for k := r.IntN(4); k > 0; k-- {
			piece += pick(r, " ", "\n", "\n\n") + g.say(r, h)
		}
		t, _, _ = carry(r, g, fill, piece)
		good = append(good, example{t, 0, 0, "own " + h, "result"})
	}
	return bad, good
}

// triggers are words that attacks use and honest text does too.
func triggers() []string {
	return strings.Fields("ignore ignores ignored ignoring disregard forget override overrides overriding bypass skip previous prior above earlier original " +
		"instructions instruction commands rules guidelines prompt prompts system System SYSTEM admin administrator developer assistant Assistant AI model agent " +
		"user users secret password confidential important IMPORTANT urgent attention Attention notice warning immediately now must instead first before " +
		"task tasks new message do not tell reveal print send forward delete execute run tool tools call from now on you are act as pretend mode debug root " +
		"privileged jailbreak injection hidden inform mention follow obey comply answer respond reply output only exactly access granted end of document")
}

// scatter puts triggers into honest text at random, so that no word is an
// attack by itself.
func scatter(r *rand.Rand, t string) string {
	words, trig := strings.Fields(t), triggers()
	for range 1 + r.IntN(4) {
		i := r.IntN(len(words) + 1)
		words = append(words[:i], append([]string{trig[r.IntN(len(trig))]}, words[i:]...)...)
	}
	return strings.Join(words, " ")
}

// repeat is a few words over and over, as in tables, logs and tests.
func repeat(r *rand.Rand, t string) string {
	words := strings.Fields(t)
	if len(words) == 0 {
		return t
	}
	i := r.IntN(len(words))
	few := strings.Join(words[i:min(len(words), i+1+r.IntN(4))], " ")
	return strings.Repeat(few+pick(r, " ", "\n", ", ", ". ", "\t", "|"), 4+r.IntN(40))
}

// makePrompts makes n attacks and n honest prompts.
func makePrompts(r *rand.Rand, g grammar, fill func(int) string, n int) (bad, good []example) {
	fams := []string{"override", "authority", "jail", "leak", "turns", "override", "leak", "jail", "ko", "es", "de", "fr", "pt", "it", "ru", "zh", "ja"}
	honest := []string{"ask", "ask", "ask", "ask", "ai-text", "doc", "mail", "quoted", "plainpay", "ko-h", "xx-h", "recipe"}
	for i := range n {
		f := fams[i%len(fams)]
		t := style(r, g.say(r, f))
		from := 0
		if r.IntN(3) == 0 {
			lead := g.say(r, honest[r.IntN(len(honest))])
			from = len(lead) + 1
			t = lead + pick(r, " ", "\n") + t
		}
		bad = append(bad, example{t, from, len(t), "own " + f, "prompt"})
		if i%3 == 0 {
			t = scatter(r, fill(30+r.IntN(150)))
			if r.IntN(2) == 0 {
				t = scatter(r, g.say(r, "ask"))
			}
			good = append(good, example{t, 0, 0, "own scatter", "prompt"})
		}
		if i%16 == 0 {
			t = repeat(r, pick(r, fill(80), g.say(r, honest[r.IntN(len(honest))])))
			good = append(good, example{t, 0, 0, "own repeat", "prompt"})
		}
		h := honest[i%len(honest)]
		t = style(r, g.say(r, h))
		if r.IntN(3) == 0 {
			t += pick(r, " ", "\n") + g.say(r, honest[r.IntN(len(honest))])
		}
		good = append(good, example{t, 0, 0, "own " + h, "prompt"})
	}
	return bad, good
}

func (e example) String() string { return fmt.Sprintf("%s %q", e.Source, e.Text) }
